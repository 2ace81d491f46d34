"""edge-replay: recorded frames through the very pipeline of the box."""

from __future__ import annotations

import argparse
import gc
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from kenpin.camera.files.folder_source import open_folder
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.images import write_png
from kenpin.camera.files.listing import ImageError
from kenpin.camera.files.recording_format import RecordingError
from kenpin.camera.files.recording_source import RecordingSource
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.source import FrameSource
from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.config.frame import FrameSpec
from kenpin.config.output import MAP_FORMATS, folder_to_write
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.fitting import in_grey_levels, misfit
from kenpin.runtime.judging.overlay import overlay
from kenpin.runtime.judging.pipeline import Judgement, Pipeline
from kenpin.runtime.judging.verdict import Outcome, Reason, Verdict
from kenpin.runtime.maps import MapFolder
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.roll import RollBook
from kenpin.runtime.wire.authentication import AccessControl
from kenpin.runtime.wire.feed import VerdictFeed
from kenpin.runtime.wire.map_encoding import Encoding, Identity, State
from kenpin.runtime.wire.sockets import EndpointError, VerdictPublisher

__all__ = ["Tally", "main", "replay"]

# How long a grab waits before the sockets are served again.
POLL_S = 0.1

EXAMPLES = """examples:
  edge-replay recording/ --bundle bundles/current
  edge-replay recording/ --bundle bundles/current --rate-hz 20 --budget-ms 40
  edge-replay recording/ --bundle bundles/current --overlays pictures/
  edge-replay recording/ --bundle bundles/current --maps maps/        as numbers a pixel
  edge-replay recording/ --bundle bundles/current --rolls rolls/      the map of a web
  edge-replay recording/ --bundle bundles/current --publish tcp://127.0.0.1:5556
  python -m kenpin.runtime.wire.subscriber tcp://127.0.0.1:5556      prints them elsewhere

Published verdicts are marked `sim`: no machine may act on them. A line a frame:
number, verdict, score / threshold, milliseconds since the last scan line, file.

"""


@dataclass
class Tally:
    """What a replay came to."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    total_us: list[int] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.outcomes[verdict.outcome] += 1
        if verdict.reason is not None:
            self.reasons[verdict.reason] += 1
        self.total_us.append(verdict.stages_us["total"])

    def text(self) -> str:
        """One line: frames, OK, NG by reason, latency."""
        if not self.total_us:
            return "no frames"
        p50, p99 = np.percentile(self.total_us, [50, 99]) / 1000
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        return (
            f"{self.outcomes.total()} frames: {self.outcomes[Outcome.OK]} OK, "
            f"{self.outcomes[Outcome.NG]} NG"
            + (f" ({reasons})" if reasons else "")
            + f"; latency p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )


def replay(
    source: FrameSource,
    pipeline: Pipeline | WebPipeline,
    feed: VerdictFeed | None,
    overlays: Path | None,
    budget_us: int | None,
    rolls: RollBook | None = None,
    maps: MapFolder | None = None,
) -> Tally:
    """Judge every frame of a source, publish each verdict at once, print a line for each.

    The frames of a web are blocks of one web, which ends with the last of them.
    """
    log = structlog.get_logger()
    tally = Tally()
    while not source.exhausted:
        frame = source.grab(POLL_S)
        if frame is None:
            if feed:
                feed.serve_subscriptions()
            continue
        if isinstance(pipeline, WebPipeline):
            judged = pipeline.judge(frame, last=source.exhausted)
        else:
            judged = pipeline.judge(frame)
        if feed:
            feed.verdict(judged.verdict, budget_us)
        tally.add(judged.verdict)
        sys.stdout.write(_line(judged.verdict))
        if rolls and judged.verdict.web:
            _tell(rolls.add(judged.verdict.web))
        if judged.verdict.reason is Reason.MODEL_ERROR:
            log.error("model_error", frame=frame.index, detail=judged.verdict.detail)
        if maps:
            maps.add(frame.index, judged.verdict.frame_name, judged, _size(frame, judged))
        if overlays:
            _draw(frame, judged, pipeline.bundle.manifest.frame, overlays)
    if rolls:
        _tell(rolls.close())
    return tally


def _tell(pages: list[Path]) -> None:
    for page in pages:
        sys.stdout.write(f"roll map: {page}\n")


def _line(verdict: Verdict) -> str:
    web = verdict.web
    name = verdict.outcome.name if verdict.reason is None else f"NG {verdict.reason}"
    score = "-" if verdict.score is None else f"{verdict.score:.3f}"
    limit = "-" if verdict.thresholds is None else f"{verdict.thresholds.ok:.3f}"
    spent = verdict.stages_us["total"] / 1000
    detail = f"  {verdict.detail}" if verdict.detail else ""
    if web is not None:
        found = f", {web.n_defects} defects" if web.n_defects else ""
        detail = f"  lines [{web.first_line}, {web.end_line}){found}{detail}"
    return (
        f"{verdict.frame_index:6d}  {name:<20} {score:>8} / {limit:<8} {spent:8.1f} ms  "
        f"{verdict.frame_name}{detail}\n"
    )


def _size(frame: Frame | LostFrame, judged: Judgement) -> tuple[int, int] | None:
    """(height, width) that a part's map belongs to; a web's has lines of its own."""
    if isinstance(frame, LostFrame) or judged.verdict.web is not None:
        return None
    height, width = frame.pixels.shape[:2]
    return height, width


def _draw(frame: Frame | LostFrame, judged: Judgement, expected: FrameSpec, folder: Path) -> None:
    if isinstance(frame, LostFrame):
        return
    pixels: NDArray[Any] = frame.pixels
    if not misfit(pixels, expected):
        pixels = in_grey_levels(pixels, expected)
    elif pixels.dtype != np.uint8:
        return
    picture = overlay(pixels, judged.score_map, judged.verdict)
    stem = Path(frame.name).with_suffix("").as_posix().replace("/", "-")
    write_png(folder / f"{frame.index:06d}-{judged.verdict.outcome.name}-{stem}.png", picture)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    expected = {
        BundleError: Exit.BUNDLE,
        ImageError: Exit.IMAGES,
        RecordingError: Exit.IMAGES,
        EndpointError: Exit.CONFIG,
        ConfigError: Exit.CONFIG,
    }
    return run(lambda: _replay(options), expected, debug=options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-replay",
        description="Run recorded frames through the pipeline of the box; every frame gets a "
        "verdict.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("frames", type=Path, metavar="FRAMES", help="folder of recorded frames")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--rate-hz", type=_positive, help="frames per second; default: flat out")
    parser.add_argument(
        "--as-timed", action="store_true", help="a recording: in the time in which it was captured"
    )
    parser.add_argument("--loop", action="store_true", help="begin again after the last frame")
    parser.add_argument(
        "--budget-ms", type=_positive, help="later verdicts are NG late; default: no limit"
    )
    parser.add_argument("--threads", type=int, help="cores for the network; default: all")
    parser.add_argument("--publish", metavar="ENDPOINT", help="tcp://127.0.0.1:PORT or ipc://PATH")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="readers need one: edge-run keys")
    parser.add_argument("--encoding", type=Encoding, choices=list(Encoding), default="msgpack")
    parser.add_argument("--box", default="replay", help="name of this box in messages")
    parser.add_argument("--line", default="replay", help="name of the line: v1/verdict/<line>")
    parser.add_argument(
        "--wait-s", type=float, default=0.0, help="wait so long for a first subscriber"
    )
    parser.add_argument("--overlays", type=Path, metavar="DIR", help="write pictures there")
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="write maps there as numbers, scores.csv, boxes.csv",
    )
    parser.add_argument(
        "--maps-as", choices=MAP_FORMATS, default="tiff", help="float32; default: tiff"
    )
    parser.add_argument("--rolls", type=Path, metavar="DIR", help="write a web's roll maps there")
    parser.add_argument("--roll-name", default="", help="of the roll; default: roll-0001")
    parser.add_argument("--fail-on-ng", action="store_true", help="exit with 10 if a frame is NG")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _replay(options: argparse.Namespace) -> int:
    bundle = read_bundle(options.bundle)
    budget_us = None if options.budget_ms is None else round(options.budget_ms * 1000)
    for folder in (options.overlays, options.maps, options.rolls):
        if folder:
            folder_to_write(folder)
    with ExitStack() as stack:
        source = open_folder(
            options.frames, as_timed=options.as_timed, rate_hz=options.rate_hz, loop=options.loop
        )
        stack.callback(source.close)
        for path in source.ignored if isinstance(source, ImageSource) else ():
            sys.stderr.write(f"warning: {path} is no image and is left out\n")
        for what in source.missing if isinstance(source, RecordingSource) else ():
            sys.stderr.write(f"warning: {options.frames}: {what}\n")
        feed = _feed(options, bundle, stack) if options.publish else None
        pipeline = open_tested(
            bundle,
            budget_ns=None if budget_us is None else budget_us * 1000,
            threads=options.threads,
        )
        rolls = _rolls(options, pipeline)
        # Everything alive now stays alive: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        if feed:
            feed.state(State.READY)
            if options.wait_s and not feed.wait_for_subscriber(options.wait_s):
                sys.stderr.write(f"warning: nobody subscribed within {options.wait_s:g} s\n")
            feed.state(State.CONTINUOUS)
        maps = None
        if options.maps:
            maps = stack.enter_context(MapFolder(options.maps, options.maps_as))
        tally = replay(source, pipeline, feed, options.overlays, budget_us, rolls, maps)
        if feed:
            feed.state(State.READY)
    sys.stdout.write(tally.text() + "\n")
    failed = options.fail_on_ng and tally.outcomes[Outcome.NG]
    return Exit.NG if failed else Exit.DONE


def _rolls(options: argparse.Namespace, pipeline: Pipeline | WebPipeline) -> RollBook | None:
    web = isinstance(pipeline, WebPipeline)
    if options.overlays and web:
        raise ConfigError(
            "--overlays draws frames that show parts; a web's map lies across its frames: "
            "use --rolls"
        )
    if not options.rolls:
        return None
    if not isinstance(pipeline, WebPipeline):
        raise ConfigError("--rolls is for webs, and this bundle is for frames that show parts")
    facts = {"bundle": pipeline.bundle.label, "line": options.line}
    book = RollBook(
        options.rolls,
        pipeline.web,
        pipeline.grid.width,
        facts,
        lambda: datetime.now().astimezone().isoformat(" ", "seconds"),
    )
    if pipeline.web.roll.start_count is None:
        book.start(options.roll_name)
    return book


def _feed(options: argparse.Namespace, bundle: Bundle, stack: ExitStack) -> VerdictFeed:
    identity = Identity(
        box=options.box,
        line=options.line,
        cam="recording",
        boot=str(uuid.uuid4()),
        bundle=bundle.label,
        recipe_id=bundle.manifest.name,
        sim=True,
    )
    access = AccessControl(options.keys)
    stack.callback(access.close)
    publisher = stack.enter_context(VerdictPublisher(options.publish, access=access))
    stack.callback(lambda: sys.stderr.writelines(f"warning: {note}\n" for note in access.notes()))
    return VerdictFeed(
        identity,
        publisher,
        options.encoding,
        mono_ns=time.monotonic_ns,
        wall_ns=time.time_ns,
    )


if __name__ == "__main__":
    sys.exit(main())
