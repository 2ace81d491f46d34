"""Records what a line's camera shows, until told to stop."""

from __future__ import annotations

import argparse
import math
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kenpin.camera.acquisition.events import (
    CameraChanged,
    CameraEvent,
    CameraState,
    FrameArrived,
    FramesLost,
)
from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.acquisition.ring_frames import frame_in
from kenpin.camera.files.recording_format import RecordingError
from kenpin.camera.files.recording_writer import RecordingWriter
from kenpin.camera.frame import LostFrame
from kenpin.camera.opening import opener_of
from kenpin.camera.source import CameraError
from kenpin.config.arguments import positive, whole
from kenpin.config.camera import SOURCES, CameraSettings, load_camera
from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, asked_to_end, run
from kenpin.config.registry import load_object

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-run record line.toml -o /data/monday --max-gb 100
  edge-run record line.toml -o /data/last-hour --max-gb 50 --drop-oldest
  edge-replay /data/monday --bundle BUNDLE --as-timed

Ctrl-C, SIGTERM or a terminal that is closed ends the recording; what is written stays
readable whatever happens.

"""
# Half a second of the fastest line: a disk's hesitation costs no frame.
_SLOTS = 40


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = make_parser().parse_args(argv)
    expected = {ConfigError: Exit.CONFIG, RecordingError: Exit.IMAGES, CameraError: Exit.CAMERA}
    return run(lambda: _record(options), expected, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-run record",
        description="Record a line's camera, losslessly, with all that is known of each frame.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("line", type=Path, metavar="LINE.toml", help="whose camera")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="for the recording"
    )
    parser.add_argument("--max-gb", type=positive, default=10.0, help="of all files; default: 10")
    parser.add_argument(
        "--drop-oldest", action="store_true", help="go on at the limit, without the oldest frames"
    )
    parser.add_argument("--frames", type=whole, help="stop after so many")
    parser.add_argument("--slots", type=whole, default=_SLOTS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="instead of the file's"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _record(options: argparse.Namespace) -> int:
    spec = load_camera(options.line, options.set)
    if getattr(spec, "software_triggered", False):
        raise ConfigError(
            f"{options.line}: the camera takes frames when it is asked, and nobody asks here; let "
            "it run by itself (--set camera.triggers=[]), or let the line's archive keep its frames"
        )
    with asked_to_end() as ended:
        return _recorded(options, spec, ended)


def _recorded(options: argparse.Namespace, spec: CameraSettings, ended: Callable[[], bool]) -> int:
    ring = FrameRing(options.slots, _frame_bytes(spec))
    recorder = RecordingWriter(
        options.output,
        max_bytes=round(options.max_gb * 1e9),
        when_full="drop_oldest" if options.drop_oldest else "stop",
        about={"line": str(options.line)},
    )
    acquisition = Acquisition(opener_of(spec), ring)
    acquisition.start()
    most = math.inf if options.frames is None else options.frames

    def over() -> bool:
        return ended() or recorder.full or recorder.written >= most

    try:
        while not over() and acquisition.state is not CameraState.ENDED:
            for event in acquisition.events():
                _keep(event, ring, recorder)
                if recorder.written >= most:
                    break
            _wait(acquisition)
    finally:
        acquisition.stop()
        recorder.close()
        ring.close()
    sys.stdout.write(
        f"{options.output}: {recorder.written} frames, {recorder.missed} missed, "
        f"{recorder.bytes / 1e6:.1f} MB{', the limit is reached' if recorder.full else ''}\n"
    )
    if recorder.fault:
        sys.stderr.write(f"warning: {recorder.fault}\n")
    return Exit.DONE


def _keep(event: CameraEvent, ring: FrameRing, recorder: RecordingWriter) -> None:
    if isinstance(event, CameraChanged):
        detail = f": {event.detail}" if event.detail else ""
        sys.stderr.write(f"camera {event.state}{detail}\n")
    elif isinstance(event, FrameArrived):
        # Straight from the ring to the disk; a disk that is behind fills the ring, and
        # the acquisition counts what finds no slot.
        # With what the ring has no room for: when its exposure began, its lines' counts.
        recorder.write(replace(frame_in(ring, event.ticket), capture=event.capture))
        ring.release(event.ticket)
    elif isinstance(event, FramesLost):
        recorder.write(
            LostFrame(
                event.captured_ns,
                event.index,
                event.detail,
                lines=event.lines,
                count=event.count,
                loss=event.loss,
            )
        )


def _wait(acquisition: Acquisition) -> None:
    handle = acquisition.fileno()
    if handle is None:
        time.sleep(0.02)
        return
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    poller.poll(50)


def _frame_bytes(camera: CameraSettings) -> int:
    if camera.origin == "recording":
        raise ConfigError(f"camera {camera.kind}: is recorded already; name a line with a camera")
    ask = SOURCES.find(camera.kind).frame_bytes
    if ask is None:
        raise ConfigError(
            f"camera {camera.kind}: does not say how large its frames are, so it cannot be "
            "recorded; its package must name `Source.frame_bytes`"
        )
    size: int = load_object(ask)(camera)
    return size


if __name__ == "__main__":
    sys.exit(main())
