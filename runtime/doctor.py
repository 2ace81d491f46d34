"""edge-doctor: looks at box and camera, and says what will hurt."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kenpin.camera.acquisition.source import AcquisitionSource
from kenpin.camera.files.folder_source import open_folder
from kenpin.camera.files.listing import ImageError
from kenpin.camera.flat_field import calibrate, write_flat_field
from kenpin.camera.frame import Frame, LostFrame, Pixels
from kenpin.camera.genicam.device import producer_files
from kenpin.camera.genicam.discovery import list_cameras, probe
from kenpin.camera.genicam.discovery_messages import Probe
from kenpin.camera.genicam.host import Finding, examine
from kenpin.camera.loss import Loss
from kenpin.camera.opening import opener_of
from kenpin.camera.source import CameraError
from kenpin.config.arguments import add_version, positive, whole
from kenpin.config.camera import GenicamSpec, load_camera
from kenpin.config.console import plain_console
from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.config.line import load_line
from kenpin.runtime.box.host import examine_box
from kenpin.runtime.box.yardstick import add_measure
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.engine import EngineError
from kenpin.runtime.rate import add_rate
from kenpin.runtime.security import examine_security
from kenpin.runtime.tune import add_tune

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-doctor camera                         cameras of the producers in GENICAM_GENTL64_PATH
  edge-doctor camera line.toml               the line's camera, tried out
  edge-doctor camera --producer FILE.cti --serial 12345
  edge-doctor box                            what of this box makes verdicts late
  edge-doctor security line.toml             sockets, keys, modes, bundles, kernel, disks
  edge-doctor tune bundles/                  the network's fastest settings on this box
  edge-doctor rate bundles/ --budget-ms 50    lines a second that this box holds
  edge-doctor measure -o box.json            how much slower than a workstation it is
  edge-doctor flat-field --dark DARK/ --white WHITE/ -o flat.json

"""
_SLOTS = 8
# How long to wait for a camera, and then for its first frame.
_CONNECTING_S = 10.0
_FIRST_FRAME_S = 2.0
_MARKS = {
    "ok": "[green]ok[/]",
    "warning": "[yellow]look[/]",
    "unknown": "[dim]?[/]",
    "unused": "[dim]-[/]",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = make_parser().parse_args(argv)
    expected = {
        ConfigError: Exit.CONFIG,
        CameraError: Exit.CAMERA,
        ImageError: Exit.IMAGES,
        BundleError: Exit.BUNDLE,
        EngineError: Exit.BUNDLE,
    }
    return run(lambda: int(options.action(options)), expected, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-doctor",
        description="Look at box and camera, and say what will hurt.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    camera = commands.add_parser("camera", help="list cameras, grab a few frames, judge the box")
    camera.add_argument(
        "line", nargs="?", type=Path, metavar="LINE.toml", help="whose camera to try"
    )
    camera.add_argument(
        "--producer",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.cti",
        help="without LINE.toml: where to look; default: all in GENICAM_GENTL64_PATH",
    )
    camera.add_argument("--serial", help="which camera to try")
    camera.add_argument(
        "--seconds", type=positive, default=3.0, help="how long to grab; default: 3"
    )
    camera.set_defaults(action=_camera)
    flat = commands.add_parser("flat-field", help="calibrate a flat-field correction")
    flat.add_argument("--dark", type=Path, required=True, help="frames with the lens covered")
    flat.add_argument("--white", type=Path, required=True, help="frames of an even white target")
    flat.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE.json", help="the correction"
    )
    flat.add_argument("--line", type=Path, metavar="LINE.toml", help="whose settings it holds for")
    flat.add_argument("--bits", type=whole, default=8, help="of a sample; default: 8")
    flat.set_defaults(action=_flat_field)
    box = commands.add_parser("box", help="priorities, memory, clocks: what makes verdicts late")
    box.set_defaults(action=_box)
    security = commands.add_parser("security", help="how a line and its box are kept")
    security.add_argument("line", type=Path, metavar="LINE.toml", help="the line's settings")
    security.set_defaults(action=_security)
    add_tune(commands)
    add_rate(commands)
    add_measure(commands)
    return parser


@dataclass
class Trial:
    """What a few seconds of grabbing showed."""

    frames: int = 0
    first: bool = False
    lines: int = 0
    lost: int = 0
    incomplete: int = 0
    asked: int = 0
    seconds: float = 0.0
    fault: str = ""
    last_loss: str = ""


def _camera(options: argparse.Namespace) -> int:
    out = plain_console()
    spec = _spec(options)
    files = producer_files(spec)
    cameras = list_cameras(spec)
    table = Table("serial", "vendor", "model", "name", "transport", title=f"{len(cameras)} cameras")
    for camera in cameras:
        table.add_row(
            camera.serial, camera.vendor, camera.model, camera.user_name, camera.transport
        )
    out.print("producers: " + ", ".join(map(str, files)), soft_wrap=True)
    out.print(table)
    if not cameras:
        raise CameraError("the producers list no camera; check cable, power and address")
    chosen = options.line or options.serial or len(cameras) == 1
    if not chosen:
        out.print("give a LINE.toml or --serial to try one of them")
        return Exit.DONE
    seen = probe(spec)
    trial = _try(spec, seen, options.seconds)
    _show(out, seen, trial)
    findings = examine(
        seen.transport, packet_bytes=seen.packet_bytes, locked_bytes=_SLOTS * seen.frame_bytes
    )
    findings += _of_the_trial(trial, spec)
    _list(out, findings)
    return Exit.CAMERA if any(f.grade == "warning" for f in findings) else Exit.DONE


def _box(_options: argparse.Namespace) -> int:
    return _report(examine_box())


def _security(options: argparse.Namespace) -> int:
    return _report(examine_security(load_line(options.line), options.line))


def _report(findings: Sequence[Finding]) -> int:
    _list(plain_console(), findings)
    return Exit.CAMERA if any(f.grade == "warning" for f in findings) else Exit.DONE


def _spec(options: argparse.Namespace) -> GenicamSpec:
    if options.line is None:
        return GenicamSpec(kind="genicam", producers=tuple(options.producer), serial=options.serial)
    spec = load_camera(options.line)
    if not isinstance(spec, GenicamSpec):
        raise ConfigError(
            f"{options.line}: its camera is of kind {spec.kind}, which needs no doctor; expected "
            "genicam"
        )
    return spec


def _try(spec: GenicamSpec, seen: Probe, seconds: float) -> Trial:
    """Grab for a while; with a software trigger, one frame after the other."""
    trial = Trial()
    with AcquisitionSource(opener_of(spec), seen.frame_bytes, slots=_SLOTS) as source:
        started = 0.0
        until = time.monotonic() + _CONNECTING_S + seconds
        while time.monotonic() < until and (not started or trial.seconds < seconds):
            if source.connected:
                until = min(until, time.monotonic() + _FIRST_FRAME_S + seconds)
            if spec.software_triggered and trial.asked <= _answered(trial):
                trial.asked += source.trigger(trial.asked)
            frame = source.grab(0.05)
            now = time.monotonic()
            if isinstance(frame, Frame) and not started:
                started = now
                trial.first = True
                continue  # the first one only starts the clock
            if started:
                trial.seconds = now - started
            _count(trial, frame)
        trial.fault = source.detail
    return trial


def _answered(trial: Trial) -> int:
    return trial.first + trial.frames + trial.lost + trial.incomplete


def _count(trial: Trial, frame: Frame | LostFrame | None) -> None:
    if isinstance(frame, Frame):
        trial.frames += 1
        trial.lines += len(frame.pixels)
    elif isinstance(frame, LostFrame):
        trial.last_loss = frame.detail
        if frame.loss is Loss.INCOMPLETE:
            trial.incomplete += frame.count
        else:
            trial.lost += frame.count


def _show(out: Console, seen: Probe, trial: Trial) -> None:
    table = Table(show_header=False, title=seen.label)
    size = " x ".join(map(str, seen.size))
    table.add_row("frame", f"{size}, {seen.pixel_format}, {seen.frame_bytes} bytes")
    table.add_row(
        "line rate set", "-" if seen.line_rate_hz is None else f"{seen.line_rate_hz:g} Hz"
    )
    if trial.seconds:
        rate, lines = trial.frames / trial.seconds, trial.lines / trial.seconds
        flow = rate * seen.frame_bytes / 1e6
        table.add_row("measured", f"{rate:.1f} frames/s, {lines:.0f} lines/s, {flow:.1f} MB/s")
    table.add_row("grabbed", f"{trial.frames} frames in {trial.seconds:.1f} s")
    table.add_row("lost", str(trial.lost))
    table.add_row("incomplete", str(trial.incomplete))
    out.print(table)


def _of_the_trial(trial: Trial, spec: GenicamSpec) -> list[Finding]:
    found = []
    if not trial.frames:
        came = "one came, and no more" if trial.first else "none came"
        found.append(Finding("frames", "warning", came, _why_none(trial, spec)))
    if trial.lost or trial.incomplete:
        found.append(
            Finding(
                "losses",
                "warning",
                f"{trial.lost} lost, {trial.incomplete} incomplete",
                f"the last one: {trial.last_loss}"
                if spec.software_triggered and not trial.incomplete
                else "look at the packet size, the MTU and the receive buffers; more `buffers`",
            )
        )
    return found


def _why_none(trial: Trial, spec: GenicamSpec) -> str:
    """Whom to ask first: the camera's own fault, or else whatever it waits for."""
    if trial.fault:
        return trial.fault
    if spec.software_triggered:
        return (
            f"{trial.asked} software triggers were given; {trial.last_loss or 'none was answered'}"
        )
    if spec.triggers:
        waits = ", ".join(f"{trigger.selector} from {trigger.source}" for trigger in spec.triggers)
        return f"the camera waits for {waits}: does the signal come, does the web move?"
    return (
        "the camera runs freely and waits for nothing, so its frames are made and do not "
        "arrive: look at the packet size and the MTU"
    )


def _list(out: Console, findings: Sequence[Finding]) -> None:
    table = Table("", "what", "found", "remedy")
    for finding in findings:
        table.add_row(
            Text.from_markup(_MARKS[finding.grade]), finding.name, finding.found, finding.remedy
        )
    out.print(table)


def _flat_field(options: argparse.Namespace) -> int:
    conditions: dict[str, float] = {}
    if options.line is not None:
        conditions = load_camera(options.line).conditions
    flat = calibrate(
        _images(options.dark), _images(options.white), bits=options.bits, conditions=conditions
    )
    write_flat_field(options.output, flat)
    low, high = float(flat.gain.min()), float(flat.gain.max())
    sys.stdout.write(
        f"{options.output}: {flat.gain.size} columns, gain {low:.3f} to {high:.3f}, offset up to "
        f"{float(flat.offset.max()):.2f}\n"
    )
    for remark in flat.remarks:
        sys.stdout.write(f"look: {remark}\n")
    return Exit.CAMERA if flat.remarks else Exit.DONE


def _images(folder: Path) -> list[Pixels]:
    source = open_folder(folder)
    images = []
    while not source.exhausted:
        frame = source.grab(0.0)
        if isinstance(frame, Frame):
            images.append(frame.pixels)
        elif frame is not None:
            raise ImageError(folder, frame.detail, "record again")
    return images


if __name__ == "__main__":
    sys.exit(main())
