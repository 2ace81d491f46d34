"""A line's settings: examples that load, problems that are all named at once."""

from __future__ import annotations

import shutil
import socket
import tomllib
from pathlib import Path
from typing import Literal

import pytest

from bundles import Workshop
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.line import ArchiveSpec, Line, load_line
from kenpin.config.settings import anchored
from kenpin.config.sides import SideSettings
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.service.check import as_toml, problems_of
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.service.ports import taken_twice
from running_line import line_toml

EXAMPLES = sorted((Path(__file__).parent.parent / "config").glob("line-*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_load_and_what_is_resolved_loads_again(path: Path) -> None:
    line = load_line(path)
    assert Line.model_validate(tomllib.loads(as_toml(line))) == line


def test_there_are_examples_of_every_trigger_mode() -> None:
    assert {load_line(p).trigger.mode for p in EXAMPLES} == {"free", "hardware", "software"}


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    line = load_line(line_toml(tmp_path, Path("bundles"), archive='folder = "ng"'))
    assert line.bundles == tmp_path / "bundles"
    assert line.archive is not None
    assert line.archive.folder == tmp_path / "ng"
    assert line.simulated


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    toml = line_toml(
        tmp_path,
        Path("b"),
        trigger='mode = "often"',
        watchdog="hung_ms = 2000, kill_ms = 1000",
        wire="pup = 1",
        camera='kind = "synthetic", height_px = 3',
    )
    with pytest.raises(ConfigError) as caught:
        load_line(toml)
    text = str(caught.value)
    for expected in (
        "trigger.mode: Input should be 'free', 'hardware' or 'software'",
        "trigger.budget_ms: is missing",
        "clients would learn of a hang after its end",
        "wire.pup: unknown key",
        "camera.height_px",
        "camera.width_px: is missing",
    ):
        assert expected in text


def test_check_finds_nothing_wrong_with_a_good_line(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = line_toml(tmp_path, patchcore.folder, trigger='mode = "free", budget_ms = 5000')
    assert edge_run(["check", str(toml)]) == Exit.DONE
    out = capsys.readouterr().out
    assert "budget_ms = 5000.0" in out
    assert out.endswith("no problems found\n")


def test_a_line_that_offers_no_commands_is_written_with_an_empty_address(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        trigger='mode = "free", budget_ms = 5000',
        wire=f'ctl = "", pub = "ipc://{tmp_path}/pub"',
    )
    assert edge_run(["check", str(toml)]) == Exit.DONE
    assert 'ctl = ""' in capsys.readouterr().out
    toml.write_text(toml.read_text().replace('mode = "free"', 'mode = "software"'))
    assert edge_run(["check", str(toml)]) == Exit.CONFIG
    assert "problem: wire.ctl: not set" in capsys.readouterr().out


def test_check_counts_one_problem_as_one(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = line_toml(tmp_path, patchcore.folder, trigger='mode = "free", budget_ms = 0.01')
    assert edge_run(["check", str(toml)]) == Exit.CONFIG
    out = capsys.readouterr().out
    assert out.count("problem: ") == 1
    assert out.endswith("\n1 problem\n")


def test_check_names_every_problem_of_a_line(
    own_bundle: Path, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_bundle / "bank.npy").write_bytes(b"x")
    toml = line_toml(
        tmp_path,
        own_bundle,
        trigger='mode = "software", budget_ms = 5, max_in_flight = 4',
        ring="slots = 3",
        wire='pub = "tcp://0.0.0.0:5556", ctl = "ipc://here"',
        inspection="threads = 200, cpus = [0, 4000]",
        archive='folder = "not-there"',
        camera='kind = "recorded", folder = "nothing"',
    )
    assert edge_run(["check", str(toml)]) == Exit.CONFIG
    out = capsys.readouterr().out
    for expected in (
        "wire.ctl: endpoint 'ipc://here'",
        "wire.pub: endpoint 'tcp://0.0.0.0:5556'",
        "inspection.cpus: cores [4000] are not there",
        "inspection.threads: 200 threads",
        "ring.slots: 3 slots for 4 frames",
        "ring.slots: 3 slots leave none to lend to the archive",
        "archive.folder:",
        "bundles:",
        "camera: ",
        "9 problems",
    ):
        assert expected in out


def test_check_compares_camera_bundle_ring_and_budget(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        trigger='mode = "free", budget_ms = 0.01',
        ring="pixel_bytes = 1000",
        camera='kind = "synthetic", height_px = 64, width_px = 320',
        wire='pub = "ipc:///tmp/x", ctl = "ipc:///tmp/x"',
    )
    assert edge_run(["check", str(toml)]) == Exit.CONFIG
    out = capsys.readouterr().out
    assert "camera: frame is 64 x 320 px" in out
    assert "ring.pixel_bytes: 1000 bytes" in out
    assert "trigger.budget_ms: 0.01 ms" in out
    assert "wire.pub: ipc:///tmp/x and wire.ctl, ipc:///tmp/x, are one place" in out


@pytest.mark.parametrize(
    ("wire", "status", "found"),
    [
        ('ctl = "tcp://127.0.0.1:9464"', "port = 9464", "status.port"),
        (
            'ctl = "tcp://127.0.0.1:7001", pub = "tcp://*:7001", keys = "k"',
            "port = 0",
            "wire.pub",
        ),
        ('ctl = "tcp://127.0.0.1:7001", pub = "tcp://127.0.0.2:7001"', "port = 0", ""),
        ('ctl = "tcp://127.0.0.1:*", pub = "tcp://127.0.0.1:*"', "port = 0", ""),
        ('ctl = "tcp://127.0.0.1:8470"', "port = 0", "page.port"),
        ('ctl = "tcp://127.0.0.1:5020"', "port = 0", "bridges.modbus.port"),
        ('ctl = "tcp://127.0.0.1:7001"', 'address = "localhost", port = 7001', "status.port"),
        ('ctl = "tcp://[::1]:7001"', 'address = "localhost", port = 7001', "status.port"),
        ('ctl = "tcp://127.0.0.2:7001"', 'address = "localhost", port = 7001', ""),
        ('ctl = "tcp://127.0.0.2:7001"', 'address = "line-7", port = 7001', "status.port"),
        ('ctl = "tcp://127.0.0.1:7001"', 'address = "nobody", port = 7001', ""),
        ('ctl = "tcp://127.0.0.1:7001"', 'address = "0.0.0.0", port = 7001', "status.port"),
        ('ctl = "tcp://[::1]:7001"', 'address = "0.0.0.0", port = 7001', ""),
        ('ctl = "tcp://127.0.0.1:7001"', 'address = "::", port = 7001', "status.port"),
        ('ctl = "tcp://127.0.0.1:7001"', 'address = "::ffff:7f00:1", port = 7001', "status.port"),
        ('ctl = "ipc:///tmp/x", pub = "ipc:///tmp/y/../x"', "port = 0", "wire.pub"),
    ],
)
def test_check_finds_a_port_that_two_sockets_would_bind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: str, status: str, found: str
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", looked_up)
    toml = line_toml(tmp_path, tmp_path / "no", wire=wire, status=status, page="port = 8470")
    if found.startswith("bridges."):
        toml.write_text(toml.read_text() + '[[bridges]]\nkind = "modbus"\n')
    line = load_line(toml)
    told = [problem for problem in problems_of(line) if "are one place" in problem]
    assert [problem.partition(":")[0] for problem in told] == ([found] if found else [])


class Places(SideSettings):
    """Of a side process with paths wherever settings can have them."""

    one: Path
    listed: list[Path]
    pair: tuple[Path, int]
    by_name: dict[str, Path]
    unordered: frozenset[Path]
    nested: dict[str, list[ArchiveSpec]]
    other: dict[str, list[str]]


def test_every_path_of_a_plug_in_starts_at_the_files_folder(tmp_path: Path) -> None:
    here, deep = Path("a"), ArchiveSpec(folder=Path("a"))
    places = Places(
        kind="places", one=here, listed=[here], pair=(here, 1), by_name={"a": here},
        unordered=frozenset([here]), nested={"b": [deep]}, other={"a": ["a"]},
    )  # fmt: skip
    found = anchored(places, tmp_path)
    there = tmp_path / "a"
    assert (found.one, found.listed, found.pair) == (there, [there], (there, 1))
    assert (found.by_name, found.unordered) == ({"a": there}, {there})
    assert found.nested["b"][0].folder == there
    assert found.other == {"a": ["a"]}
    assert places.nested["b"] == [deep], "what was read is not edited"


def looked_up(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
    """What a computer with both protocols, and a line by name, is told of hosts."""
    known = {"localhost": ("127.0.0.1", "::1"), "line-7": ("127.0.0.2",)}
    if name not in known:
        raise socket.gaierror("Name or service not known")
    return [(None, None, 6, "", (address, 0)) for address in known[name]]


class LampSettings(SideSettings):
    """Of a side process that listens."""

    kind: Literal["lamp"] = "lamp"
    address: str = "127.0.0.1"
    port: int = 5556


class TwoLamps(LampSettings):
    """Of one that says itself what it binds."""

    @property
    def listens(self) -> tuple[tuple[str, int], ...]:
        """The second lies beside the first."""
        return ((self.address, self.port), (self.address, self.port + 1))


def test_check_compares_the_ports_of_installed_side_processes_too(tmp_path: Path) -> None:
    toml = line_toml(tmp_path, tmp_path / "no", wire="")

    def told(*sides: SideSettings) -> list[str]:
        line = load_line(toml).model_copy(update={"sides": sides})
        return [problem.partition(":")[0] for problem in taken_twice(line)]

    assert told(LampSettings(port=5557), TwoLamps(port=5558)) == []
    assert told(LampSettings()) == told(TwoLamps(port=5554)) == ["sides.lamp.port"]
    assert told(TwoLamps(port=5557), LampSettings(name="b", port=5558)) == ["sides.b.port"]


def test_check_finds_a_producer_that_is_not_there(tmp_path: Path) -> None:
    camera = 'kind = "genicam", lines_per_frame = 64, width_px = 64, producers = ["gone.cti"]'
    line = load_line(line_toml(tmp_path, tmp_path / "no", camera=camera))
    assert f"camera.producers: {tmp_path}/gone.cti: no such file" in "\n".join(problems_of(line))


def test_the_help_lists_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        edge_run(["--help"])
    out = capsys.readouterr().out
    for command in ("keys", "bundles", "install", "record"):
        assert out.count(f"edge-run {command} --help") == 1


def test_a_bundle_that_is_not_there_stops_the_start_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_run([str(line_toml(tmp_path, tmp_path / "no"))]) == Exit.BUNDLE
    assert "holds no bundle; install one" in capsys.readouterr().err
    shutil.rmtree(tmp_path)


def test_every_path_starts_at_the_files_folder_also_in_lists(tmp_path):
    file = tmp_path / "line.toml"
    file.write_text(
        'name = "a"\nbox = "b"\nbundles = "store"\n[trigger]\nbudget_ms = 50\n[camera]\n'
        'kind = "genicam"\nproducers = ["lib/a.cti", "/opt/b.cti"]\nflat_field = "flat.json"\n'
    )
    line = load_line(file)
    assert line.bundles == tmp_path / "store"
    camera = line.camera.model_dump()
    assert camera["producers"] == (tmp_path / "lib/a.cti", Path("/opt/b.cti"))
    assert camera["flat_field"] == tmp_path / "flat.json"
