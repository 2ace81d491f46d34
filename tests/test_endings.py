"""However a program is told to end, it says so in one line at most and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kenpin.commands
from kenpin.camera.record_cli import main as edge_record
from kenpin.config.exits import Exit
from kenpin.config.tuning import Tuning
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.durable import point, replace_file
from kenpin.runtime.tune import write_tuning
from running_line import RunningLine, line_toml

PATIENCE_S = 60.0
TRIGGERED = 'mode = "software", budget_ms = 5000'

# Makes something, and is told to end again while it takes that away.
AT_WORK = """
import os, signal, sys, time
from pathlib import Path
from kenpin.config.exits import run
def work():
    made = Path(sys.argv[1])
    made.touch()
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        for number in map(int, sys.argv[2:]):
            os.kill(os.getpid(), number)
        made.unlink()
    return 0
sys.exit(run(work, {}, debug=False))
"""
# The demo with an edge-run of its own, but without what comes before.
DEMO = """
import os, shutil, sys, time
from pathlib import Path
from kenpin.compile import demo
def build(_words):
    shutil.copytree(sys.argv[2], Path(sys.argv[1], "bundles", "whole"))
    Path(sys.argv[1], "bundles", "current").symlink_to("whole")
    return 0
def check(*_):
    print("children", Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
    time.sleep(60)
demo.write_dataset = lambda data, *_, **how: (data / "test").mkdir(parents=True)
demo.edge_compile, demo._check = build, check
demo._replay, demo._show, demo.list_images = lambda *_: [], lambda *_: None, lambda _: []
sys.exit(demo.main(Path(sys.argv[1])))
"""
IMPORTING = """
import os, signal, time
import kenpin.commands
def importing(_home):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
kenpin.commands.import_module = importing
kenpin.commands.edge_compile()
"""


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Programs that are started inherit what `&` and `nohup` have taken away from these tests."""
    heeded = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in heeded.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def started(program: str, *words: object) -> subprocess.Popen[str]:
    """A program of its own, whose output is heard."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.clock
@pytest.mark.parametrize(
    ("first", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, -signal.SIGTERM, ""),
        (signal.SIGHUP, -signal.SIGHUP, ""),
    ],
)
@pytest.mark.parametrize(
    "then", [(), (signal.SIGINT,), (signal.SIGTERM, signal.SIGHUP)], ids=["once", "twice", "thrice"]
)
def test_what_was_half_made_goes_also_where_a_second_signal_comes_meanwhile(
    tmp_path: Path,
    first: signal.Signals,
    code: int,
    said: str,
    then: tuple[signal.Signals, ...],
) -> None:
    with started(AT_WORK, tmp_path / "half", *map(int, then)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "at work\n"
        child.send_signal(first)
        _, told = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, told) == (code, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.clock
def test_nohup_is_left_as_it_is(tmp_path: Path) -> None:
    program = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + AT_WORK
    with started(program, tmp_path / "half") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "at work\n"
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == -signal.SIGTERM


@pytest.mark.clock
def test_an_interrupt_while_a_command_is_imported_shows_no_traceback() -> None:
    with started(IMPORTING) as child:
        _, told = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, told) == (-signal.SIGINT, "")


def test_every_command_begins_where_an_interrupt_is_expected() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    homes = {name: point.split(":") for name, point in project["scripts"].items()}
    assert len(homes) == 5
    for name, (module, function) in homes.items():
        assert module == "kenpin.commands", name
        assert function == name.replace("-", "_")
        assert callable(getattr(kenpin.commands, function))


def test_a_command_without_a_stdout_does_its_work() -> None:
    program = (
        "import sys\n"
        "from kenpin.config.exits import run\n"
        "sys.exit(run(lambda: print('for nobody') or 10, {}, debug=False))\n"
    )
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (10, "")


def test_a_table_whose_reader_has_gone_is_no_error() -> None:
    program = (
        "import sys\n"
        "from kenpin.config.console import plain_console\n"
        "from kenpin.config.exits import run\n"
        "sys.exit(run(lambda: plain_console().print('much') or 1, {}, debug=False))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: replace_file(folder / "file", b"new"),
        lambda folder: point(folder / "current", folder / "bundle"),
        lambda folder: write_tuning(folder / "bundle", Tuning(batch=2)),
    ],
    ids=["file", "link", "tuning"],
)
def test_a_file_that_was_being_replaced_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]
) -> None:
    def interrupted(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.clock
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_no_line_running(
    padim: Bundle, tmp_path: Path, number: signal.Signals
) -> None:
    with started(DEMO, tmp_path / "demo", padim.folder) as child:
        assert child.stdout is not None
        words: list[str] = []
        for line in child.stdout:
            if line.startswith("children "):
                words = line.split()[1:]
                break
        assert words
        child.send_signal(number)
        _, told = child.communicate(timeout=PATIENCE_S)
    left = [word for word in words if Path("/proc", word).exists()]
    for word in left:
        os.kill(int(word), signal.SIGTERM)
    assert left == []
    assert child.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in told


@pytest.mark.clock
def test_a_terminal_that_is_closed_ends_a_line_in_order(padim: Bundle, tmp_path: Path) -> None:
    toml = line_toml(tmp_path, padim.folder, trigger='mode = "free", budget_ms = 20000')
    with RunningLine(toml) as line:
        line.verdict()
        line.fault("sleep 1")
        line.begins_fault()
        # It reaches every process that was started there.
        for child in line.children():
            os.kill(child, signal.SIGHUP)
        assert line.stop(signal.SIGHUP) == 0
        assert line.verdicts[-1]["reason"] == "shutdown"
        assert not [told for told in line.log if "ended (exit code" in told]


@pytest.mark.clock
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.thorough),
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=pytest.mark.thorough),
    ],
)
def test_a_simulated_plc_that_is_told_to_end_still_says_what_it_found(
    padim: Bundle, tmp_path: Path, number: int
) -> None:
    toml, found = line_toml(tmp_path, padim.folder, trigger=TRIGGERED), tmp_path / "found.json"
    command = [sys.executable, "-m", "kenpin.runtime.plc.cli"]
    with (
        RunningLine(toml) as line,
        subprocess.Popen([*command, "--line-toml", str(toml), "--json", str(found)]) as plc,
    ):
        line.verdict()
        plc.send_signal(number)
        assert plc.wait(PATIENCE_S) == 0
    assert json.loads(found.read_text())["triggers"] >= 1


@pytest.mark.clock
def test_a_terminal_that_is_closed_ends_a_recording_in_order(tmp_path: Path) -> None:
    toml, recording = line_toml(tmp_path, tmp_path), tmp_path / "recording"
    command = [sys.executable, "-m", "kenpin.camera.record_cli", str(toml), "-o", str(recording)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as recorder:
        assert recorder.stderr is not None
        while "streaming" not in (told := recorder.stderr.readline()):
            assert told
        os.killpg(recorder.pid, signal.SIGHUP)
        out, err = recorder.communicate(timeout=PATIENCE_S)
    assert (recorder.returncode, err) == (0, "")
    assert "frames, 0 missed" in out


def test_a_recording_of_a_camera_that_waits_for_triggers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would wait for ever, and record nothing."""
    toml = tmp_path / "line.toml"
    toml.write_text(
        'name = "web-1"\nbox = "b"\nbundles = "bundles"\ntrigger = { budget_ms = 60 }\n'
        '[camera]\nkind = "genicam"\nlines_per_frame = 8\nwidth_px = 8\npixel_format = "Mono8"\n'
        '[[camera.triggers]]\nselector = "FrameStart"\nsource = "Software"\n'
    )
    assert edge_record([str(toml), "-o", str(tmp_path / "rec")]) == Exit.CONFIG
    assert "nobody asks here" in capsys.readouterr().err
    assert not (tmp_path / "rec").exists()
