"""The C client against a line that runs, and the C header against the committed bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from kenpin.runtime.bundles.bundle import Bundle
from lying_line import LyingLine
from running_line import PATIENCE_S, RunningLine, line_toml

HERE = Path(__file__).parent
SOURCES = HERE.parent / "examples/c"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (HERE / "vectors/messages.json").read_text(encoding="utf-8")
)
STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
TRIGGER = 'mode = "software", budget_ms = 2000'

# Whether each line of hex is sound, is OK for a gate, says OK, and is OK once its frame is real.
LOOK = r"""
#include <stdio.h>
#include "kenpin_wire.h"
int main(void) {
  static char hex[1024];
  while (fgets(hex, sizeof hex, stdin)) {
    kenpin_message m;
    memset(&m, 0, sizeof m);
    int count = 0;
    unsigned byte;
    for (char *at = hex; sscanf(at, "%2x", &byte) == 1; at += 2, count++)
      if (count < KENPIN_SIZE) m.bytes[count] = (uint8_t)byte;
    int sound = kenpin_sound(&m, count);
    int ok = sound && kenpin_is_ok(&m.verdict), says = sound && kenpin_says_ok(&m.verdict);
    m.verdict.flags &= (uint16_t)~KENPIN_SIM;
    printf("%d %d %d %d\n", sound, ok, says, sound && kenpin_is_ok(&m.verdict));
  }
}
"""


def libzmq() -> Path | None:
    """The library that pyzmq's wheel brings; None if the system's own is used."""
    found = sorted(Path(zmq.__file__).parents[1].glob("pyzmq.libs/libzmq-*.so*"))
    return found[0] if found else None


def compiled(source: Path, target: Path, *more: str) -> Path:
    assert shutil.which("gcc"), "install a C compiler (Debian: apt-get install gcc libc6-dev)"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{SOURCES}"]
    subprocess.run(["gcc", *flags, "-o", str(target), str(source), *more], check=True)
    return target


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    bundled = libzmq()
    # The wheel's library has its own libsodium beside it, which the linker need not see.
    link = (
        [str(bundled), f"-Wl,-rpath,{bundled.parent}", "-Wl,--allow-shlib-undefined"]
        if bundled
        else ["-lzmq"]
    )
    return compiled(SOURCES / "part.c", tmp_path_factory.mktemp("c") / "part", *link)


@pytest.fixture
def line(patchcore: Bundle, tmp_path: Path) -> Any:
    wire = (
        f'ctl = "ipc://{tmp_path}/ctl", pub = "ipc://{tmp_path}/pub", '
        'encoding = "struct", pub_encoding = "msgpack"'
    )
    toml = line_toml(tmp_path, patchcore.folder, trigger=TRIGGER, camera=STILL, wire=wire)
    with RunningLine(toml) as running:
        running.state("operational.ready")
        yield running


@pytest.mark.clock
def test_the_c_client_gets_a_verdict_for_every_part_and_acknowledges_it(
    part: Path, line: RunningLine, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [part, f"ipc://{tmp_path}/ctl", "12", "2000", "c-example"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = [text for text in ran.stdout.splitlines() if text.startswith("part")]
    assert ran.stdout.count("  may move") == len(told) == 12
    for _ in range(12):
        line.verdict()
    for text, verdict in zip(told, line.verdicts, strict=True):
        if verdict["verdict"] == 1:
            assert f"WOULD PASS score {verdict['score']:.6g} <=" in text
        else:
            assert f"REJECT: reason {verdict['code']}," in text
        assert text.endswith("(simulated)")
    assert any("WOULD PASS" in text for text in told)
    # Acknowledged: the line has nothing more to say to this client.
    (session,) = re.findall(r"^c-example in session (\d+)$", ran.stdout, re.MULTILINE)
    again = line.client("c-example", encoding="struct", session=session)
    again.say("hello")
    again.of_kind("state")
    assert [m for m in again.settled() if m["type"] == "verdict"] == []


@pytest.mark.clock
def test_the_c_client_rejects_parts_while_the_line_is_stopped(
    part: Path, line: RunningLine, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [part, f"ipc://{tmp_path}/ctl", "8", "100"], stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        while "part 2" not in client.stdout.readline():
            pass
        os.kill(line.process.pid, signal.SIGSTOP)
        rest = client.stdout.read()
        os.kill(line.process.pid, signal.SIGCONT)
        assert client.wait(PATIENCE_S) == 1
    assert re.search(r"part 7 REJECT: no verdict", rest)
    assert "part 6 REJECT: no verdict" in rest


@pytest.mark.clock
def test_the_c_client_rejects_a_part_whose_verdict_is_of_another_session(
    part: Path, tmp_path: Path
) -> None:
    with LyingLine(tmp_path, "another session", encoding="struct") as line:
        ran = subprocess.run([part, line.ctl, "6", "500"], capture_output=True, text=True)
    told = [text for text in ran.stdout.splitlines() if text.startswith("part")]
    assert [text.split()[2].rstrip(":") for text in told] == ["WOULD"] * 5 + ["REJECT"]
    assert ran.returncode == 1


def test_a_line_that_is_not_there_is_not_waited_for_for_ever(part: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    ran = subprocess.run(
        [part, f"ipc://{tmp_path}/nobody", "1"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "not ready" in ran.stderr
    assert time.monotonic() - began < PATIENCE_S


def test_the_c_header_agrees_with_every_vector(tmp_path: Path) -> None:
    (tmp_path / "look.c").write_text(LOOK)
    look = compiled(tmp_path / "look.c", tmp_path / "look")
    told, refused = VECTORS["told"] + VECTORS["commanded"], VECTORS["refused_structs"]
    given = "".join(v["struct_hex"] + "\n" for v in [*told, *refused])
    ran = subprocess.run([look], input=given, capture_output=True, text=True, check=True)
    found = [tuple(map(int, text.split())) for text in ran.stdout.splitlines()]
    for vector, (sound, ok, says_ok, real_ok) in zip(told, found, strict=False):
        says = vector["struct_says"]
        is_ok = says["type"] == "verdict" and says["verdict"] == 1
        assert sound == 1, vector["what"]
        assert (says_ok, real_ok) == (is_ok, is_ok), vector["what"]
        assert ok == (is_ok and not says["sim"]), f"{vector['what']}: `sim` is for nobody's gate"
    for vector, (_, *oks) in zip(refused, found[len(told) :], strict=True):
        assert not any(oks), vector["what"]
