"""The inspection process: frames out of the ring, verdicts into the channel."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kenpin.camera.acquisition.ring import FrameRing, StaleTicketError, Ticket
from kenpin.camera.acquisition.ring_frames import frame_in, put_map
from kenpin.config.text import shorten
from kenpin.processes.channel import Channel, Stop
from kenpin.processes.memory import keep_what_is_loaded
from kenpin.processes.progress import Progress
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.durable import hold
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.drift.reference import Reference
from kenpin.runtime.drift.watch import DriftWatch
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.pipeline import Judgement, Pipeline
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Reason, Thresholds, Verdict
from kenpin.runtime.selftest import golden_scores
from kenpin.runtime.service.inspection.messages import (
    AT_ONCE,
    AlsoFound,
    BundleFacts,
    Drifted,
    EndWeb,
    Failed,
    FromInspection,
    InspectorSpec,
    Judge,
    Judged,
    Phase,
    PhaseChanged,
    SelftestEnded,
    TakeOver,
    ToInspection,
    TookOver,
    WebEnded,
)
from kenpin.runtime.web.pipeline import WebPipeline, open_pipeline
from kenpin.runtime.wire.web_limits import fitted, with_open

__all__ = ["run"]

# An idle loop ticks so often; the gateway takes three times as long for a hang.
_IDLE_S = 0.03
# Hashing in pieces of this size, 1 ms each, keeps triggers waiting no longer.
_PIECE_BYTES = 1 << 20
# Of frames, between two words on how the pictures stand; another cause is told at once.
_DRIFT_EVERY = 20
# Of a sentence for the log; what goes out on the wire is cut shorter there.
_MOST_CHARS = 2000

_Channel = Channel[FromInspection, ToInspection]


class _Pulse:
    """The pipeline's clock, which shows each look at it as progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last_ns = time.monotonic_ns()
        self.longest_gap_ns = 0

    def __call__(self) -> int:
        now_ns = time.monotonic_ns()
        self._progress.tick(now_ns)
        self.longest_gap_ns = max(self.longest_gap_ns, now_ns - self._last_ns)
        self._last_ns = now_ns
        return now_ns

    def restart(self) -> None:
        """Forget the longest gap."""
        self()
        self.longest_gap_ns = 0


def run(spec: InspectorSpec, ring: FrameRing, channel: _Channel, progress: Progress) -> None:
    """Prove the bundle, then judge until told to stop or until nobody listens."""
    if spec.cpus is not None:
        os.sched_setaffinity(0, spec.cpus)
    pulse = _Pulse(progress)
    pulse()
    try:
        bundle, pipeline, drift = _prepare(spec, channel, pulse)
    except BundleError as error:
        _fail(channel, error)
        return
    channel.send(PhaseChanged(Phase.READY, _facts(bundle, pipeline, pulse)))
    _InspectionLoop(ring, channel, pulse, pipeline, drift).run()


class _SelftestError(BundleError):
    """The bundle is whole, but this box computes something else with it."""


def _prepare(
    spec: InspectorSpec, channel: _Channel, pulse: _Pulse
) -> tuple[Bundle, Any, DriftWatch | None]:
    _tell(channel, Phase.VERIFYING)
    bundle = read_bundle(spec.bundle, spec.trust)
    # Until this process ends: whoever tidies the store up leaves the folder alone.
    hold(bundle.folder)
    _tell(channel, Phase.COMPILING)
    drift = _drift_watch(spec, bundle)
    if spec.make_pipeline:
        pipeline = spec.make_pipeline(bundle, clock_ns=pulse, execution=Execution(spec.threads))
    else:
        pipeline = open_pipeline(
            bundle,
            web=spec.web,
            clock_ns=pulse,
            execution=Execution(threads=spec.threads, overhear=drift.features if drift else None),
            oversee=drift.pixels if drift else None,
        )
    _tell(channel, Phase.WARMING)
    # The first inferences allocate and touch memory; only later ones show the pace.
    for _ in range(2):
        pulse.restart()
        _golden(pipeline)
    # A collection of all took 7-11 ms in the middle of a frame; young ones follow in pauses.
    keep_what_is_loaded()
    gc.disable()
    sys.setswitchinterval(2e-4)
    return bundle, pipeline, drift


def _drift_watch(spec: InspectorSpec, bundle: Bundle) -> DriftWatch | None:
    reference = Reference.of(bundle) if spec.drift.watch else None
    if reference is None:
        return None
    manifest = bundle.manifest
    grid = TileGrid.of(manifest.frame, manifest.tiles)
    web = manifest.frame.geometry == "continuous"
    return DriftWatch(reference, spec.drift, grid.core if web else None)


def _golden(pipeline: Pipeline | WebPipeline) -> dict[str, float]:
    try:
        return dict(golden_scores(pipeline))
    except BundleError as error:
        raise _SelftestError(str(error)) from error


def _tell(channel: _Channel, phase: Phase) -> None:
    channel.send(PhaseChanged(phase))


def _fail(channel: _Channel, error: BundleError) -> None:
    reason = Reason.SELFTEST_FAILED if isinstance(error, _SelftestError) else Reason.NOT_READY
    # Long enough that a gateway which is busy just now still hears it before the end.
    channel.send(Failed(reason, shorten(str(error), _MOST_CHARS)))


def _facts(bundle: Bundle, pipeline: Pipeline | WebPipeline, pulse: _Pulse) -> BundleFacts:
    m = bundle.manifest
    return BundleFacts(
        label=bundle.label,
        recipe=m.name,
        folder=bundle.folder,
        frame=(m.frame.height_px, m.frame.width_px, m.frame.channels),
        thresholds=Thresholds(m.threshold.ok, m.threshold.ng, m.threshold.usual),
        golden=len(m.golden),
        longest_gap_us=pulse.longest_gap_ns // 1000,
        web=pipeline.web if isinstance(pipeline, WebPipeline) else None,
        refused=tuple(shorten(one, _MOST_CHARS) for one in pipeline.engine.refused),
    )


class _InspectionLoop:
    """Jobs first, one at a time; between them a step of the self-test; else a tick and a pause."""

    def __init__(
        self,
        ring: FrameRing,
        channel: _Channel,
        pulse: _Pulse,
        pipeline: Any,
        drift: DriftWatch | None,
    ) -> None:
        self._ring = ring
        self._channel = channel
        self._pulse = pulse
        self._pipeline = pipeline
        self._drift = drift
        self._last_drift = Drifted()
        self._drift_in = 0
        self._jobs: deque[Judge | EndWeb] = deque()
        self._selftest: Iterator[None] | None = None
        self._stopping = False
        self._dirty = False

    def run(self) -> None:
        """Until told to stop, or until nobody listens any more."""
        self._tell_drift()
        while True:
            self._pulse()
            for message in self._channel.receive():
                self._obey(message)
            if self._jobs:
                self._work(self._jobs.popleft())
            elif self._stopping or self._channel.ended:
                return
            elif self._selftest is not None:
                if next(self._selftest, self) is self:
                    self._selftest = None
            elif not self._channel.wait(_IDLE_S) and self._dirty:
                gc.collect(1)
                self._dirty = False

    def _obey(self, command: ToInspection) -> None:
        if isinstance(command, Judge | EndWeb):
            self._jobs.append(command)
        elif isinstance(command, TakeOver):
            self._channel.send(TookOver(_leave_niceness()))
        elif isinstance(command, Stop):
            self._stopping = True
        elif self._selftest is None:
            self._selftest = self._selftest_steps()

    def _work(self, command: Judge | EndWeb) -> None:
        self._dirty = True
        if isinstance(command, Judge):
            self._judge(command)
            return
        ended = self._pipeline.finish() if isinstance(self._pipeline, WebPipeline) else None
        sent = None if ended is None else _as_sent(ended.verdict)
        self._channel.send(WebEnded(sent))
        if ended is not None and sent is not None:
            self._send_rest(ended.verdict, sent)

    def _judge(self, command: Judge) -> None:
        try:
            frame = frame_in(self._ring, command.ticket)
            if command.resume is not None and isinstance(self._pipeline, WebPipeline):
                self._pipeline.resume(command.resume)
            with self._drift.looking() if self._drift else contextlib.nullcontext():
                judged = self._pipeline.judge(frame)
            self._lay_down(judged, command.ticket)
            verdict = judged.verdict
        except StaleTicketError as error:
            verdict = self._refusal(str(error))
        sent = _as_sent(verdict)
        self._channel.send(Judged(command.job, sent))
        self._send_rest(verdict, sent)
        self._tell_drift()

    def _tell_drift(self) -> None:
        """Now and then, and when what has changed is another thing."""
        if self._drift is None:
            return
        now = self._drift.standing()
        self._drift_in -= 1
        cause = "" if now.cause is None else now.cause.value
        if self._drift_in > 0 and cause == self._last_drift.cause:
            return
        detail = shorten(now.detail, _MOST_CHARS)
        self._last_drift, self._drift_in = (
            Drifted(cause, detail, now.shares, now.looks),
            _DRIFT_EVERY,
        )
        self._channel.send(self._last_drift)

    def _send_rest(self, verdict: Verdict, sent: Verdict) -> None:
        """After the verdict, which waits for nothing: the defects it has no room for."""
        if verdict.web is None or sent.web is None:
            return
        known = {defect.number for defect in sent.web.defects}
        found = (*verdict.web.defects, *verdict.web.further)
        rest = [defect for defect in found if defect.number not in known]
        for first in range(0, len(rest), AT_ONCE):
            self._channel.send(AlsoFound(tuple(rest[first : first + AT_ONCE])))

    def _lay_down(self, judged: Judgement, ticket: Ticket) -> None:
        found = judged.score_map
        if found is not None:
            put_map(self._ring, ticket, found.values, found.stride_px, found.frame_size)

    def _refusal(self, detail: str) -> Verdict:
        """About a frame that is no longer where it should be: not even its number is known."""
        return Verdict.unjudged(
            Reason.MODEL_ERROR,
            detail,
            thresholds=self._pipeline.thresholds,
            bundle=self._pipeline.bundle.label,
            judged_ns=time.monotonic_ns(),
        )

    def _selftest_steps(self) -> Iterator[None]:
        """The bundle's bytes and its golden frames once more, a little at each step."""
        scores: dict[str, float] = {}
        detail = ""
        try:
            yield from self._hash_steps()
            for name, score in golden_scores(self._pipeline):
                scores[name] = score
                yield
        except (BundleError, OSError) as error:
            detail = str(error)
        self._channel.send(SelftestEnded(not detail, shorten(detail, _MOST_CHARS), scores))

    def _hash_steps(self) -> Iterator[None]:
        bundle: Bundle = self._pipeline.bundle
        # The manifest names every file but itself; its own hash is the bundle's.
        every = bundle.manifest.files | {MANIFEST: bundle.sha256}
        for name, expected in sorted(every.items()):
            digest = hashlib.sha256()
            with (bundle.folder / name).open("rb") as stream:
                while piece := stream.read(_PIECE_BYTES):
                    digest.update(piece)
                    yield
            if digest.hexdigest() != expected:
                raise BundleError(
                    f"{bundle.folder}: {name} no longer has the recorded SHA-256; it was altered "
                    "or the disk is failing: copy the bundle again"
                )


def _as_sent(verdict: Verdict) -> Verdict:
    """As much of it as a message holds."""
    web = verdict.web
    if web is not None:
        # Beside what a message holds: what must outlive this process.
        web = with_open(fitted(web), web.going_on)
    return replace(verdict, detail=shorten(verdict.detail, _MOST_CHARS), web=web)


def _leave_niceness() -> int:
    """Bring every thread to the ordinary priority, and say how nice the nicest one still is.

    Each thread has a niceness of its own on Linux. Going back needs
    RLIMIT_NICE (LimitNICE=+0 in the unit) or CAP_SYS_NICE.
    """
    for thread in Path("/proc/self/task").iterdir():
        # A thread may have ended since it was listed.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)
    return os.getpriority(os.PRIO_PROCESS, 0)
