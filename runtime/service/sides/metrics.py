"""What Prometheus is shown of a line. Fed with totals; owns its registry."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from kenpin.runtime.service.sides.messages import ArchiveCounts, DriftFacts, LineTotals

__all__ = ["LineMetrics"]

# 1, 2, 5 in each decade; the budget's own neighbourhood is added.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_OF_BUDGET = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
# Scores that the quantiles are taken of: the newest.
_SCORES = 1000
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
# As `drift.watch.Cause` has them, which brings numpy.
_CAUSES = ("lamp", "focus", "dirt", "material")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class LineMetrics(Collector):
    """All metrics of a line; every name begins with `edge_` and has the label `line`.

    Verdicts and snapshots come from one thread, scrapes from others.

    budget_s  of a verdict; the histograms' buckets are close together around it
    """

    def __init__(self, line: str, budget_s: float) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._counts: LineTotals | None = None
        self._scores: deque[float] = deque(maxlen=_SCORES)
        self.registry = CollectorRegistry()
        around = (round(part * budget_s, 6) for part in _OF_BUDGET)
        self._stages = Histogram(
            "edge_stage_seconds",
            "time in each stage of a verdict; total is what the budget is for",
            ["line", "stage"],
            buckets=sorted({*_SECONDS, *around}),
            registry=self.registry,
        )
        self.registry.register(self)

    def verdict(self, stages_us: Mapping[str, int], score: float | None) -> None:
        """One verdict's times and its score."""
        for stage, us in stages_us.items():
            self._stages.labels(self._line, stage).observe(us / 1e6)
        if score is not None and math.isfinite(score):
            with self._lock:
                self._scores.append(score)

    def stand(self, counts: LineTotals) -> None:
        """All counts as they are now."""
        with self._lock:
            self._counts = counts

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """The metrics that are not histograms; called by the registry."""
        with self._lock:
            s, scores = self._counts, sorted(self._scores)
        if s is not None:
            yield from self._verdicts(s)
            yield from self._parts(s)
            yield self._memory(s)
        if scores:
            yield self._quantiles(scores)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not collect in order to know the names."""
        return ()

    def _verdicts(self, s: LineTotals) -> Iterable[Metric]:
        frames = self._counter("edge_frames", "verdicts given since the start", "verdict", "reason")
        frames.add_metric([self._line, "OK", ""], s.ok)
        for reason, count in sorted(s.reasons.items()):
            frames.add_metric([self._line, "NG", reason], count)
        yield frames
        for name, what in (
            ("deadline_missed", "verdicts NG late: no answer by the deadline"),
            ("late_results", "results that came after their verdict"),
            ("triggers_missed", "verdicts on triggers whose frame was never judged"),
            ("triggers_repeated", "triggers that were sent again"),
            ("verdicts_resent", "verdicts sent again for want of an acknowledgement"),
            ("frames_unasked", "frames that no trigger waited for"),
            ("inspection_restarts", "inspection processes that had to be replaced"),
            ("acquisition_restarts", "acquisition processes that had to be replaced"),
            ("log_dropped", "log lines that found no room"),
            ("status_untold", "messages that found this page busy"),
        ):
            metric = self._counter(f"edge_{name}", what)
            metric.add_metric([self._line], s.counts.get(name, 0))
            yield metric

    def _parts(self, s: LineTotals) -> Iterable[Metric]:
        yield self._one_of("edge_state", "state", s.state, "where the line stands")
        yield self._one_of("edge_camera_state", "state", s.camera, "where the camera stands")
        yield self._gauge("edge_camera_up", "the camera can deliver frames", s.camera_up)
        yield self._gauge("edge_degraded", "something needs a person", s.degraded)
        bundle = GaugeMetricFamily(
            "edge_bundle_info", "the bundle in force", labels=["line", "bundle", "recipe"]
        )
        if s.bundle:
            bundle.add_metric([self._line, s.bundle, s.recipe], 1)
        yield bundle
        if s.thresholds:
            limits = GaugeMetricFamily(
                "edge_score_threshold", "OK up to `ok`, a defect above `ng`", labels=["line", "of"]
            )
            limits.add_metric([self._line, "ok"], s.thresholds.ok)
            limits.add_metric([self._line, "ng"], s.thresholds.ng)
            yield limits
        if s.archive:
            yield from self._archive(s.archive)
        yield from self._drift(s.drift)

    def _drift(self, drift: DriftFacts | None) -> Iterable[Metric]:
        watched = GaugeMetricFamily(
            "edge_drift_watched",
            "the bundle holds what frames are compared with, for this cause",
            labels=["line", "cause"],
        )
        outside = GaugeMetricFamily(
            "edge_drift_outside",
            "share of the last frames that lie outside all good images",
            labels=["line", "cause"],
        )
        named = GaugeMetricFamily(
            "edge_drift", "the pictures have changed, and this is why", labels=["line", "cause"]
        )
        shares = {} if drift is None else drift.shares
        for cause in _CAUSES:
            watched.add_metric([self._line, cause], cause in shares)
            if drift is not None and cause in shares:
                outside.add_metric([self._line, cause], shares[cause])
                named.add_metric([self._line, cause], cause == drift.cause)
        yield from (watched, outside, named)

    def _archive(self, archive: ArchiveCounts) -> Iterable[Metric]:
        kept = self._counter("edge_archive_kept", "entries written", "verdict")
        for kind, count in sorted(archive.kept.items()):
            kept.add_metric([self._line, kind.upper()], count)
        yield kept
        dropped = self._counter("edge_archive_dropped", "entries that were not kept", "why")
        for why, count in sorted(archive.dropped.items()):
            dropped.add_metric([self._line, why], count)
        yield dropped
        holds = GaugeMetricFamily(
            "edge_archive_entries", "entries on the disk", labels=["line", "verdict"]
        )
        for kind in ("ok", "ng"):
            holds.add_metric([self._line, kind.upper()], archive.holds.get(kind, 0))
        yield holds
        for name, what in (("bytes", "bytes on the disk"), ("files", "files on the disk")):
            value = archive.holds.get(name, 0)
            yield self._gauge(f"edge_archive_{name}", what, value)

    def _memory(self, s: LineTotals) -> Metric:
        memory = GaugeMetricFamily(
            "edge_rss_bytes",
            "resident memory, shared pages included; the frame ring counts in each process",
            labels=["line", "process"],
        )
        for name, pid in sorted({**s.pids, "status": os.getpid()}.items()):
            resident = _resident_bytes(pid)
            if resident is not None:
                memory.add_metric([self._line, name], resident)
        return memory

    def _quantiles(self, scores: list[float]) -> Metric:
        found = GaugeMetricFamily(
            "edge_score_quantile",
            f"scores of the last {_SCORES} judged frames",
            labels=["line", "quantile"],
        )
        for quantile in _QUANTILES:
            at = min(len(scores) - 1, int(quantile * len(scores)))
            found.add_metric([self._line, f"{quantile:g}"], scores[at])
        return found

    def _counter(self, name: str, what: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(name, what, labels=["line", *labels])

    def _gauge(self, name: str, what: str, value: float) -> GaugeMetricFamily:
        metric = GaugeMetricFamily(name, what, labels=["line"])
        metric.add_metric([self._line], value)
        return metric

    def _one_of(self, name: str, label: str, value: str, what: str) -> GaugeMetricFamily:
        metric = GaugeMetricFamily(name, what, labels=["line", label])
        metric.add_metric([self._line, value], 1)
        return metric


def _resident_bytes(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):  # it ended since
        return None
