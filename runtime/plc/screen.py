"""What was kept, what was broken, how long it took: a table for people, JSON for scripts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any, TextIO

from kenpin.runtime.plc.book import SENTENCES, Promise
from kenpin.runtime.plc.drive import Drive
from kenpin.runtime.plc.histogram import Histogram
from kenpin.runtime.plc.watch import Watch

__all__ = ["Screen", "report"]

_ROWS = 12
_BAR = 40
_SHOWN = 12
_STRANGE = "\N{REPLACEMENT CHARACTER}"


def report(watch: Watch, drive: Drive, begun_ns: int, now_ns: int) -> dict[str, Any]:
    """Everything, for `--json`."""
    book = watch.book
    return {
        "kept": book.clean,
        "seconds": round((now_ns - begun_ns) / 1e9, 3),
        "state": watch.pulse.state,
        "bundle": watch.bundles.now,
        "sim": watch.sim,
        "triggers": watch.parts.sent,
        "repeated": watch.parts.repeated,
        "open": len(watch.parts.open),
        "unsent": drive.unsent,
        "verdicts": watch.verdicts,
        "reasons": dict(watch.reasons),
        "resent": watch.parts.resent,
        "restarts": watch.restarts,
        "late_results": watch.late_results,
        "history": watch.history,
        "refusals": watch.errors,
        "refused": watch.parts.refusals,
        "alarms": {source: detail for source, detail in watch.alarms.items() if detail},
        "faults": dict(drive.struck),
        "change": {"step": watch.change[0], "detail": watch.change[1] or watch.error},
        "promises": {
            p.value: {"checks": book.checks[p], "broken": book.broken[p]} for p in Promise
        },
        "breaches": [
            {
                "promise": breach.promise.value,
                "at_s": round((breach.at_ns - begun_ns) / 1e9, 3),
                "detail": breach.detail,
            }
            for breach in book.breaches
        ],
        "latency_ms": figures(watch.parts.latency if watch.parts.sent else watch.latency),
        "stages_ms": {stage: figures(found) for stage, found in watch.stages.items()},
        "longest_nap_ms": round(drive.longest_nap_ns / 1e6, 1),
    }


def figures(found: Histogram) -> dict[str, float]:
    """Count, percentiles, extremes."""
    if not found.count:
        return {"count": 0}
    return {"count": found.count, "min": round(found.least_ms, 3)} | {
        name: round(found.percentile(percent), 3)
        for name, percent in (("p50", 50), ("p99", 99), ("p99.9", 99.9), ("max", 100))
    }


def lines(watch: Watch, found: dict[str, Any]) -> Iterator[str]:
    """The table, line by line."""
    bundle = found["bundle"] or "no bundle"
    yield f"{found['state'] or 'no state yet'}   {bundle}   {'SIM' if found['sim'] else ''}"
    yield (
        f"{found['seconds']:.1f} s   {found['triggers']} triggers, {found['repeated']} repeated, "
        f"{found['open']} open, {found['refused']} refused   "
        f"{found['verdicts']} verdicts published, {found['resent']} resent"
        f"   {found['restarts']} restarts"
    )
    if found["history"]:
        yield f"{found['history']} verdicts were held up, and told as history"
    reasons = sorted(found["reasons"].items(), key=lambda item: -item[1])
    yield "verdicts: " + (", ".join(f"{count} {name}" for name, count in reasons) or "none")
    if found["faults"]:
        yield "our faults: " + ", ".join(f"{n} {name}" for name, n in found["faults"].items())
    if found["change"]["step"]:
        yield f"change of the bundle: {found['change']['step']} {found['change']['detail']}"
    for source, detail in found["alarms"].items():
        yield f"alarm of {source}: {detail}"
    yield ""
    yield f"{'promise':<10} {'checks':>8} {'broken':>7}"
    for promise, counts in found["promises"].items():
        mark = "!" if counts["broken"] else " "
        sentence = SENTENCES[Promise(promise)]
        yield f"{promise:<10} {counts['checks']:>8} {counts['broken']:>7} {mark} {sentence}"
    yield ""
    yield from _latency(watch, found)
    shown = _most_telling(found["breaches"])
    for breach in shown:
        yield f"broken at {breach['at_s']:.3f} s: {breach['promise']}: {breach['detail']}"
    more = sum(p["broken"] for p in found["promises"].values()) - len(shown)
    if more > 0:
        yield f"and {more} more"


def _most_telling(breaches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first breach of every promise, and further ones as far as there is room; by time."""
    first = {breach["promise"]: breach for breach in reversed(breaches)}
    others = [breach for breach in breaches if breach is not first[breach["promise"]]]
    chosen = [*first.values(), *others[: max(0, _SHOWN - len(first))]]
    return sorted(chosen, key=lambda breach: float(breach["at_s"]))


def _latency(watch: Watch, found: dict[str, Any]) -> Iterator[str]:
    triggered = bool(found["triggers"])
    ms = found["latency_ms"]
    if not ms["count"]:
        return
    what = "TRIGGER to verdict" if triggered else "last scan line to verdict"
    names = ("min", "p50", "p99", "p99.9", "max")
    yield f"{what + ', ms':<28}" + "".join(f"{name:>9}" for name in names)
    yield f"{'  as we hear it':<28}" + "".join(f"{ms[name]:>9.2f}" for name in names)
    for stage, stage_ms in found["stages_ms"].items():
        yield f"{'  ' + stage:<28}" + "".join(f"{stage_ms[name]:>9.2f}" for name in names)
    bars = (watch.parts.latency if triggered else watch.latency).bars(_ROWS)
    most = max(count for _, _, count in bars)
    for low, high, count in bars:
        bar = "#" * max(round(_BAR * count / most), 1 if count else 0)
        yield f"{low:>10.2f} to {high:>8.2f}  {bar} {count or ''}"
    yield ""


class Screen:
    """Redraws the table in place on a terminal; elsewhere it is written once, at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.live = stream.isatty()
        self._drawn = 0

    def draw(self, text: Iterator[str], *, last: bool = False) -> None:
        """Write the table over the one before; the last one in full."""
        # Details come from elsewhere: an escape sequence must not reach a terminal.
        clean = ["".join(c if c.isprintable() else _STRANGE for c in line) for line in text]
        if self.live:
            if self._drawn:
                self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
            if not last:
                # A line that wraps, or scrolls away, could not be drawn over.
                columns, rows = shutil.get_terminal_size()
                clean = [line[: columns - 1] for line in clean[: rows - 1]]
        self._stream.write("\n".join(clean) + "\n")
        self._stream.flush()
        self._drawn = len(clean)
