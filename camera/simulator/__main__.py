"""`python -m kenpin.camera.simulator`: build the simulated camera, tell it what to do."""

import argparse
import sys
from pathlib import Path

from kenpin.camera.simulator.build import build
from kenpin.camera.simulator.control import Control
from kenpin.camera.source import CameraError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kenpin.camera.simulator")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("build", help="compile kenpinsim.cti into a directory")
    making.add_argument("directory", type=Path)
    telling = commands.add_parser("tell", help="send commands to a running camera")
    telling.add_argument("socket", type=Path, help="the path in KENPINSIM_CONTROL")
    telling.add_argument("words", nargs="+", help="a command, e.g.: stall 2000")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "build":
            said = str(build(asked.directory))
        else:
            with Control(asked.socket) as control:
                said = control.tell(" ".join(asked.words))
    except CameraError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{said}\n" if said else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
