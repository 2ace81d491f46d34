"""`python -m kenpin.camera.simulator`: build the simulated camera, use it, tell it."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kenpin.camera.files.listing import ImageError
from kenpin.camera.simulator.build import build
from kenpin.camera.simulator.control import Control
from kenpin.camera.simulator.simulator import Simulator
from kenpin.camera.simulator.strip import write_strip
from kenpin.camera.source import CameraError

EXAMPLES = """examples:
  python -m kenpin.camera.simulator run sim --strip demo/data/test -- edge-run config/line-simulator.toml
  python -m kenpin.camera.simulator tell sim "lost"        pull its cable
  python -m kenpin.camera.simulator tell sim "back"        and put it in again
  python -m kenpin.camera.simulator build sim              only sim/kenpinsim.cti, for any GenTL consumer

docs/simulator.md lists what it can be told.
"""  # noqa: E501


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    asked = make_parser().parse_args(words)
    try:
        if asked.action == "run":
            return _run(asked, command)
        if asked.action == "build":
            sys.stdout.write(f"{build(asked.directory)}\n")
        else:
            path = asked.directory / "control" if asked.directory.is_dir() else asked.directory
            with Control(path) as control:
                said = control.tell(" ".join(asked.words))
            sys.stdout.write(f"{said}\n" if said else "")
    except (CameraError, ImageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="python -m kenpin.camera.simulator",
        description="A GenICam line camera in software, with every fault on request.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("build", help="compile kenpinsim.cti into a directory")
    making.add_argument("directory", type=Path, help="for the producer")
    running = actions.add_parser("run", help="run a command that finds the camera")
    running.add_argument("directory", type=Path, help="for the producer and its control socket")
    running.add_argument(
        "--strip", type=Path, metavar="IMAGES", help="a folder whose images the web shows, for ever"
    )
    running.add_argument(
        "--tell", action="append", default=[], metavar="COMMAND", help="before it is opened"
    )
    telling = actions.add_parser("tell", help="send a command to the running camera")
    telling.add_argument("directory", type=Path, help="as given to run; or a control socket")
    telling.add_argument("words", nargs="+", help="a command, e.g.: stall 2000")
    return parser


def _run(asked: argparse.Namespace, command: list[str]) -> int:
    if not command:
        raise CameraError("run: no command; expected one after --, such as -- edge-run line.toml")
    asked.directory.mkdir(parents=True, exist_ok=True)
    words = list(asked.tell)
    if asked.strip is not None:
        strip = asked.directory.resolve() / "strip.pgm"
        width = write_strip(asked.strip, strip)
        words = [f"sensor_width {width}", f"strip {strip}", *words]
    with Simulator(words, directory=asked.directory.resolve()):
        environ = os.environ | {"GENICAM_GENTL64_PATH": str(asked.directory.resolve())}
        running = subprocess.Popen(command, env=environ)
        while True:
            try:
                return running.wait()
            except KeyboardInterrupt:
                continue  # the command has been interrupted too, and ends in its own way


if __name__ == "__main__":
    sys.exit(main())
