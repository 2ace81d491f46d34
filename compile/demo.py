"""make demo: from synthetic good frames to verdicts that arrive over ZeroMQ.

python -m kenpin.compile.demo DIR --seed 3    another web, with other defects
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kenpin.camera.files.listing import list_images
from kenpin.camera.synthetic import SyntheticWeb, write_dataset
from kenpin.compile.cli import main as edge_compile
from kenpin.config.arguments import seed_number
from kenpin.config.exits import Exit, run

__all__ = ["main"]

HEIGHT_PX, WIDTH_PX, SEED = 256, 1024, 7
TRAIN, GOOD, EACH = 40, 80, 4
RECIPE = Path(__file__).resolve().parent.parent / "config" / "demo.toml"
LINE = """# The demo's line: edge-run {folder}/line.toml
name = "demo"
box = "desk"
bundles = "{folder}/bundles"
trigger = {{ mode = "software", budget_ms = 1000 }}
camera = {{ kind = "recorded", folder = "{frames}", loop = true }}
wire = {{ ctl = "ipc://{folder}/ctl.ipc", pub = "ipc://{folder}/pub.ipc" }}
"""
BRIDGE = """
[[bridges]]
kind = "modbus"
port = {port}
"""
# How edge-plc reaches the line, by name.
WAYS: list[tuple[str, list[str]]] = [("direct", []), ("modbus", ["--via", "modbus"])]
PARTS = 20
# Far more than a slow machine needs; a demo that hangs must end by itself.
LONGEST_S = 300


def main(folder: Path, seed: int = SEED) -> int:
    """Run the demo in a folder that is made anew; gives an exit code.

    Parameters
    ----------
    seed
        Of the web and its defects.
    """
    # The edge-run that it starts would outlive a signal that nobody waits for.
    return run(lambda: _shown(folder, seed), {}, debug=True)


def _shown(folder: Path, seed: int) -> int:
    console = Console()
    data, pictures = folder / "data", folder / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    console.print(f"[bold]1[/] synthetic line-scan frames in {escape(str(data))}")
    web = SyntheticWeb(HEIGHT_PX, WIDTH_PX, seed)
    write_dataset(data, web, train=TRAIN, good=GOOD, each=EACH)
    console.print("[bold]2[/] edge-compile: good frames to a bundle")
    good = f"images.good={data.resolve() / 'train' / 'good'}"
    code = edge_compile(["build", str(RECIPE), "-o", str(folder / "bundles"), "--set", good])
    if code:
        return code
    console.print("[bold]3[/] edge-replay: test frames to verdicts, received in another process")
    messages = _replay(data / "test", folder, pictures)
    _show(console, messages)
    console.print(f"pictures: {pictures}, {len(list_images(pictures))} files", markup=False)
    console.print("[bold]4[/] edge-run: the same as a service, with edge-plc in the PLC's place")
    found = _serve(folder.resolve(), data.resolve() / "test")
    _tell(console, found[0])
    for through in found[1:]:
        console.print("[bold]5[/] the same line through its Modbus bridge, as a PLC polls it")
        _tell(console, through)
    line = folder / "line.toml"
    console.print(
        f"again: edge-run {line}; in another terminal edge-plc --line-toml {line}", markup=False
    )
    return 0


def _replay(frames: Path, folder: Path, pictures: Path) -> list[dict[str, Any]]:
    """Replay in one process, receive in a second; the verdicts that were received."""
    endpoint = f"ipc://{(folder / 'verdicts.ipc').resolve()}"
    received = folder / "verdicts.jsonl"
    count = sum(1 for _ in frames.rglob("*.png"))
    listener = subprocess.Popen(
        [
            sys.executable, "-m", "kenpin.runtime.wire.subscriber", endpoint,
            "--count", str(count), "--timeout-s", str(LONGEST_S), "--json-lines", str(received),
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        subprocess.run(
            [
                sys.executable, "-m", "kenpin.runtime.replay", str(frames),
                "--bundle", str(folder / "bundles"), "--publish", endpoint,
                "--line", "demo", "--wait-s", "30", "--overlays", str(pictures),
            ],
            check=True,
            timeout=LONGEST_S,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        if listener.wait(timeout=30) != 0:
            heard = len(received.read_text().splitlines()) if received.exists() else 0
            raise RuntimeError(f"the subscriber received {heard} of {count} verdicts")
    finally:
        listener.kill()
        listener.wait()
    lines = [json.loads(line) for line in received.read_text().splitlines()]
    return [message for message in lines if message["type"] == "verdict"]


def _serve(folder: Path, frames: Path) -> list[dict[str, Any]]:
    """Run a line in one process and a simulated PLC in a second; what the PLC found.

    First directly, and then through a bridge, if its library is installed.
    """
    toml, log = folder / "line.toml", folder / "edge-run.log"
    text, ways = LINE.format(folder=folder, frames=frames), WAYS[:1]
    if find_spec("pymodbus") is not None:
        text += BRIDGE.format(port=_free_port())
        ways = WAYS
    toml.write_text(text)
    with log.open("w") as stream:
        line = subprocess.Popen(
            [sys.executable, "-m", "kenpin.runtime.service.cli", str(toml)], stderr=stream
        )
    try:
        return [_check(toml, log, folder / f"plc-{way}.json", *how) for way, how in ways]
    finally:
        line.terminate()
        line.wait(timeout=30)


def _check(toml: Path, log: Path, found: Path, *how: str) -> dict[str, Any]:
    """A simulated PLC at work; what it found."""
    plc = subprocess.run(
        [
            sys.executable, "-m", "kenpin.runtime.plc.cli", "--line-toml", str(toml),
            "--count", str(PARTS), "--rate-hz", "20", "--slack-ms", "100", "--json", str(found),
            *how,
        ],
        timeout=LONGEST_S,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # A broken promise, on a machine that is too busy for one, is shown, not hidden.
    if plc.returncode not in (Exit.DONE, Exit.PROMISE):
        raise RuntimeError(f"edge-plc ended with {plc.returncode}; {log} may say why")
    report: dict[str, Any] = json.loads(found.read_text())
    return report


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _tell(console: Console, found: dict[str, Any]) -> None:
    ms, promises = found["latency_ms"], found["promises"].values()
    checks = sum(counts["checks"] for counts in promises)
    broken = sum(counts["broken"] for counts in promises)
    console.print(
        f"{found['triggers']} parts triggered, {sum(found['reasons'].values())} verdicts; from "
        f"TRIGGER to verdict p50 {ms['p50']:.0f} ms, max {ms['max']:.0f} ms"
    )
    colour = "red" if broken else "green"
    console.print(f"[{colour}]{checks} checks of {len(promises)} promises, {broken} broken[/]")
    for breach in found["breaches"][:_BREACHES_SHOWN]:
        console.print(f"  {breach['promise']}: {breach['detail']}", markup=False)


# The file holds them all.
_BREACHES_SHOWN = 3


def _show(console: Console, messages: list[dict[str, Any]]) -> None:
    table = Table(title="verdicts as received, good frames that pass apart", title_justify="left")
    for name in ("frame", "verdict", "reason"):
        table.add_column(name)
    for name in ("score", "threshold", "latency ms"):
        table.add_column(name, justify="right")
    found: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for message in messages:
        kind = message["name"].split("/")[0]
        ng = message["verdict"] == 2
        seen[kind] += 1
        found[kind] += ng
        if kind == "good" and not ng:
            continue
        # Green where the verdict is right, red where it is not.
        colour = "green" if ng == (kind != "good") else "red"
        table.add_row(
            message["name"],
            f"[{colour}]{'NG' if ng else 'OK'}[/]",
            message["reason"] or "",
            "" if message["score"] is None else f"{message['score']:.3f}",
            f"{message['thr']:.3f}",
            f"{message['lat_us']['total'] / 1000:.1f}",
        )
    console.print(table)
    for kind in sorted(set(seen) - {"good"}):
        console.print(f"{kind:<10} {found[kind]} of {seen[kind]} found")
    defects = seen.total() - seen["good"]
    console.print(
        f"[bold]{found.total() - found['good']} of {defects} defects found, "
        f"{found['good']} of {seen['good']} good frames rejected[/]"
    )


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kenpin.compile.demo", description="From synthetic frames to verdicts."
    )
    parser.add_argument("folder", type=Path, help="for all that is made; what it holds is removed")
    parser.add_argument(
        "--seed", type=seed_number, default=SEED, help=f"of the web; default: {SEED}"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    options = _options(sys.argv[1:])
    sys.exit(main(options.folder, options.seed))
