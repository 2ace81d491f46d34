"""edge-replay: recorded frames through the very pipeline of the box."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import structlog

from kenpin.camera.files.archive_source import ArchiveSource, Then
from kenpin.camera.files.folder_source import open_folder
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.listing import ImageError
from kenpin.camera.files.recording_format import RecordingError
from kenpin.camera.files.recording_source import RecordingSource
from kenpin.camera.paced_source import PacedSource
from kenpin.camera.source import FrameSource
from kenpin.config.arguments import add_version, not_negative, positive, whole
from kenpin.config.errors import ConfigError, OutputError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.config.output import add_maps, folder_to_write
from kenpin.processes.cluster import add_dask, open_cluster
from kenpin.processes.memory import keep_what_is_loaded
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome, Reason, Verdict
from kenpin.runtime.maps import MapFolder
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.spread import AT_ONCE, Replayed, picture_of, replayed, size_of
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.roll import RollBook
from kenpin.runtime.wire.authentication import AccessControl
from kenpin.runtime.wire.feed import VerdictFeed
from kenpin.runtime.wire.map_encoding import Encoding, Identity, State
from kenpin.runtime.wire.sockets import EndpointError, VerdictPublisher

__all__ = ["Tally", "main", "make_parser", "replay"]

# How long a grab waits before the sockets are served again.
POLL_S = 0.1

EXAMPLES = """examples:
  edge-replay recording/ --bundle bundles/current
  edge-replay recording/ --bundle bundles/current --rate-hz 20 --budget-ms 40
  edge-replay recording/ --bundle bundles/current --overlays pictures/
  edge-replay recording/ --bundle bundles/current --maps maps/        as numbers a pixel
  edge-replay recording/ --bundle bundles/current --rolls rolls/      the map of a web
  edge-replay --archive s3://plant/web-1 --bundle tomorrow/   which verdicts would be others?
  edge-replay recording/ --bundle tomorrow/ --dask tcp://scheduler:8786   on many machines
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
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    compared: int = 0

    def add(self, verdict: Verdict, then: Then | None = None) -> None:
        """Count a verdict, and whether an archive tells of another one."""
        if then is not None:
            self.compared += 1
            before = Outcome(then.verdict)
            if before is not verdict.outcome:
                self.changed[before.name, verdict.outcome.name] += 1
        self.outcomes[verdict.outcome] += 1
        if verdict.reason is not None:
            self.reasons[verdict.reason] += 1
        self.total_us.append(verdict.stages_us["total"])

    def text(self, *, archived: bool = False) -> str:
        """Frames, OK, NG by reason, latency; of an archive, which verdicts would be others."""
        if not self.total_us:
            return "no frames"
        p50, p99 = np.percentile(self.total_us, [50, 99]) / 1000
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        return (
            f"{self.outcomes.total()} frames: {self.outcomes[Outcome.OK]} OK, "
            f"{self.outcomes[Outcome.NG]} NG"
            + (f" ({reasons})" if reasons else "")
            + f"; latency p50 {p50:.1f} ms, p99 {p99:.1f} ms"
            + (self._comparison() if archived else "")
        )

    def _comparison(self) -> str:
        silent = self.outcomes.total() - self.compared
        remark = f"; {silent} entries do not say what theirs was" if silent else ""
        if not self.compared:
            return f"\nno archived verdicts{remark}"
        changes = ", ".join(
            f"{count} that were {then} are {now}"
            for (then, now), count in sorted(self.changed.items())
        )
        return f"\n{self.compared} archived verdicts: {changes or 'all as they were'}{remark}"


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
    report = _Report(overlays, rolls, maps)
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
        expected = pipeline.bundle.manifest.frame
        picture = picture_of(frame, judged, expected) if overlays else None
        then = source.then(frame.name) if isinstance(source, ArchiveSource) else None
        report.add(Replayed(judged, size_of(frame, judged), picture, then))
    return report.ended()


class _Report:
    """What people are told of one verdict after the other: a line, a picture, a roll's map."""

    def __init__(
        self, overlays: Path | None, rolls: RollBook | None, maps: MapFolder | None
    ) -> None:
        self._overlays, self._rolls, self._maps = overlays, rolls, maps
        self._log = structlog.get_logger()
        self._tally = Tally()

    def add(self, one: Replayed) -> None:
        verdict, picture, then = one.verdict, one.picture, one.then
        self._tally.add(verdict, then)
        sys.stdout.write(_line(verdict, then))
        if self._rolls and verdict.web:
            _tell(self._rolls.add(verdict.web))
        if verdict.reason is Reason.MODEL_ERROR:
            self._log.error("model_error", frame=verdict.frame_index, detail=verdict.detail)
        if self._maps:
            self._maps.add(verdict.frame_index, verdict.frame_name, one.judged, one.size)
        if self._overlays and picture:
            (self._overlays / picture.name).write_bytes(picture.png)

    def ended(self) -> Tally:
        """All that it came to."""
        if self._rolls:
            _tell(self._rolls.close())
        return self._tally


def _tell(pages: list[Path]) -> None:
    for page in pages:
        sys.stdout.write(f"roll map: {page}\n")


def _line(verdict: Verdict, then: Then | None = None) -> str:
    web = verdict.web
    name = verdict.outcome.name if verdict.reason is None else f"NG {verdict.reason}"
    score = "-" if verdict.score is None else f"{verdict.score:.3f}"
    limit = "-" if verdict.thresholds is None else f"{verdict.thresholds.ok:.3f}"
    spent = verdict.stages_us["total"] / 1000
    detail = f"  {verdict.detail}" if verdict.detail else ""
    if then is not None and then.verdict != verdict.outcome:
        detail = f"  was {f'NG {then.reason}' if then.reason else 'OK'}{detail}"
    if web is not None:
        found = f", {web.n_defects} defects" if web.n_defects else ""
        detail = f"  lines [{web.first_line}, {web.end_line}){found}{detail}"
    return (
        f"{verdict.frame_index:6d}  {name:<20} {score:>8} / {limit:<8} {spent:8.1f} ms  "
        f"{verdict.frame_name}{detail}\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = make_parser().parse_args(argv)
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


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-replay",
        description="Run recorded frames through the pipeline of the box; every frame gets a "
        "verdict.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "frames", type=Path, nargs="?", metavar="FRAMES", help="folder of recorded frames"
    )
    what.add_argument(
        "--archive",
        metavar="WHERE",
        help="a line's archive instead: a folder, or a URL such as s3://bucket/line; says which "
        "verdicts would be others",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--rate-hz", type=positive, help="frames per second; default: flat out")
    parser.add_argument(
        "--as-timed", action="store_true", help="a recording: in the time in which it was captured"
    )
    parser.add_argument("--loop", action="store_true", help="begin again after the last frame")
    parser.add_argument(
        "--budget-ms", type=positive, help="later verdicts are NG late; default: no limit"
    )
    parser.add_argument("--threads", type=whole, help="cores for the network; default: all")
    parser.add_argument("--publish", metavar="ENDPOINT", help="tcp://127.0.0.1:PORT or ipc://PATH")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="readers need one: edge-run keys")
    parser.add_argument(
        "--encoding",
        type=Encoding,
        choices=list(Encoding),
        default="msgpack",
        help="of what is published; readers must know it; default: msgpack",
    )
    parser.add_argument("--box", default="replay", help="name of this box in messages")
    parser.add_argument("--line", default="replay", help="name of the line: v1/verdict/<line>")
    parser.add_argument(
        "--wait-s", type=not_negative, default=0.0, help="wait so long for a first subscriber"
    )
    parser.add_argument(
        "--overlays", type=Path, metavar="DIR", help="write pictures there; of parts, not of webs"
    )
    add_maps(parser)
    parser.add_argument("--rolls", type=Path, metavar="DIR", help="write a web's roll maps there")
    parser.add_argument("--roll-name", default="", help="of the roll; default: roll-0001")
    add_dask(parser)
    parser.add_argument("--fail-on-ng", action="store_true", help="exit with 10 if a frame is NG")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _check_apart(folder: Path, frames: Path | None) -> None:
    """See that what is written is not replayed the next time."""
    if frames is not None and folder.resolve().is_relative_to(frames.resolve()):
        raise OutputError(f"{folder}: lies within the frames; name a folder beside them")


def _replay(options: argparse.Namespace) -> int:
    bundle = read_bundle(options.bundle)
    budget_us = None if options.budget_ms is None else round(options.budget_ms * 1000)
    for folder in (options.overlays, options.maps, options.rolls):
        if folder:
            _check_apart(folder, options.frames)
            folder_to_write(folder)
    with ExitStack() as stack:
        source = _source(options, bundle)
        stack.callback(source.close)
        for path in source.ignored if isinstance(source, ImageSource) else ():
            sys.stderr.write(f"warning: {path} is no image and is left out\n")
        for what in source.missing if isinstance(source, RecordingSource) else ():
            sys.stderr.write(f"warning: {options.frames}: {what}\n")
        if options.dask:
            assert isinstance(source, ImageSource | RecordingSource | ArchiveSource)
            return _concluded(_on_cluster(options, bundle, source, _maps(options, stack)), options)
        feed = _feed(options, bundle, stack) if options.publish else None
        pipeline = open_tested(
            bundle,
            budget_ns=None if budget_us is None else budget_us * 1000,
            execution=Execution(threads=options.threads),
        )
        rolls = _rolls(options, pipeline)
        keep_what_is_loaded()
        if feed:
            feed.state(State.READY)
            if options.wait_s and not feed.wait_for_subscriber(options.wait_s):
                sys.stderr.write(f"warning: nobody subscribed within {options.wait_s:g} s\n")
            feed.state(State.CONTINUOUS)
        maps = _maps(options, stack)
        tally = replay(source, pipeline, feed, options.overlays, budget_us, rolls, maps)
        if feed:
            feed.state(State.READY)
    return _concluded(tally, options)


def _source(options: argparse.Namespace, bundle: Bundle) -> PacedSource:
    if options.archive is None:
        return open_folder(
            options.frames, as_timed=options.as_timed, rate_hz=options.rate_hz, loop=options.loop
        )
    if bundle.manifest.frame.geometry == "continuous":
        raise ConfigError(
            "--archive: a web's frames cannot be judged without those beside them, which an "
            "archive does not keep; replay a recording"
        )
    if options.as_timed:
        raise ConfigError("--as-timed is for recordings: an archive keeps some frames alone")
    return ArchiveSource(options.archive, rate_hz=options.rate_hz, loop=options.loop)


def _maps(options: argparse.Namespace, stack: ExitStack) -> MapFolder | None:
    return stack.enter_context(MapFolder(options.maps, options.maps_as)) if options.maps else None


def _concluded(tally: Tally, options: argparse.Namespace) -> int:
    sys.stdout.write(tally.text(archived=options.archive is not None) + "\n")
    failed = options.fail_on_ng and tally.outcomes[Outcome.NG]
    return Exit.NG if failed else Exit.DONE


def _on_cluster(
    options: argparse.Namespace,
    bundle: Bundle,
    source: ImageSource | RecordingSource | ArchiveSource,
    maps: MapFolder | None,
) -> Tally:
    """The same verdicts, by the workers of a cluster, in the order of the frames."""
    timed = ("rate_hz", "as_timed", "loop", "budget_ms", "publish", "rolls", "threads")
    for name in timed:
        if getattr(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} is of one machine that judges one frame after the "
                "other; leave it away, or --dask"
            )
    report = _Report(options.overlays, None, maps)
    with open_cluster(options.dask) as cluster:
        sys.stderr.write(f"{len(source)} frames, {cluster}\n")
        wanted = {"pictures": options.overlays is not None, "maps": maps is not None}
        for one in replayed(cluster, bundle, source.cuts(AT_ONCE), **wanted):
            report.add(one)
    return report.ended()


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
