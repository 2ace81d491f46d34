"""A line's messages as metrics of a Sparkplug device, and what may be written to it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kenpin.runtime.bridges.results import defects_found
from kenpin.runtime.bridges.sparkplug.payload import Metric, MetricType

__all__ = ["COMMANDS", "METRICS", "SAID", "TO", "TO_ALL", "TO_COMMANDER", "metrics_of", "typed"]

# The metrics that carry a line's messages, and to whom they are.
SAID, TO = "Said/Message", "Said/To"
TO_ALL, TO_COMMANDER = "all", "commander"
_MS = 1_000_000
_TEXT, _NUMBER, _FLAG = MetricType.STRING, MetricType.UINT64, MetricType.BOOLEAN


@dataclass(frozen=True, slots=True)
class _Shown:
    """One metric, and what it is of a message of this kind."""

    kind: str
    datatype: MetricType
    of: Callable[[Mapping[str, Any]], Any]


def _key(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda fields: fields.get(name)


_SHOWN: Mapping[str, _Shown] = {
    "Verdict/Seq": _Shown("verdict", _NUMBER, _key("seq")),
    "Verdict/Boot": _Shown("verdict", _TEXT, _key("boot")),
    "Verdict/Outcome": _Shown("verdict", MetricType.INT32, _key("verdict")),
    "Verdict/Code": _Shown("verdict", MetricType.INT32, _key("code")),
    "Verdict/Reason": _Shown("verdict", _TEXT, _key("reason")),
    "Verdict/Score": _Shown("verdict", MetricType.DOUBLE, _key("score")),
    "Verdict/Threshold": _Shown("verdict", MetricType.DOUBLE, _key("thr")),
    "Verdict/Trigger": _Shown("verdict", _TEXT, _key("trig")),
    "Verdict/Session": _Shown("verdict", _TEXT, _key("session")),
    "Verdict/Frame": _Shown("verdict", _NUMBER, _key("frame")),
    "Verdict/Bundle": _Shown("verdict", _TEXT, _key("bundle")),
    "Verdict/Defects": _Shown("verdict", _NUMBER, defects_found),
    "Verdict/Simulated": _Shown("verdict", _FLAG, _key("sim")),
    "Verdict/Time": _Shown("verdict", MetricType.DATETIME, lambda v: v["t_wall_ns"] // _MS),
    "Line/State": _Shown("state", _TEXT, _key("state")),
    "Line/Boot": _Shown("state", _TEXT, _key("boot")),
    "Line/Bundle": _Shown("state", _TEXT, _key("bundle")),
    "Line/Degraded": _Shown("state", _FLAG, _key("degraded")),
    "Line/Simulated": _Shown("state", _FLAG, _key("sim")),
    "Line/Heartbeat": _Shown("hb", _NUMBER, _key("hb_seq")),
    "Line/Last verdict": _Shown("hb", _NUMBER, _key("last_seq")),
    "Line/Camera": _Shown("hb", _FLAG, _key("cam_ok")),
    "Alarm/Source": _Shown("alarm", _TEXT, _key("source")),
    "Alarm/Active": _Shown("alarm", _FLAG, _key("active")),
    "Alarm/Detail": _Shown("alarm", _TEXT, _key("detail")),
}

# What may be written by DCMD, and which command of the line it is; a session goes with others.
COMMANDS: Mapping[str, tuple[str, MetricType]] = {
    "Command/Session": ("hello", _TEXT),
    "Command/Trigger": ("trigger", _TEXT),
    "Command/Acknowledge": ("ack", _NUMBER),
    "Command/Prepare": ("prepare", _TEXT),
    "Command/Activate": ("activate", _TEXT),
    "Command/Selftest": ("selftest", _FLAG),
    "Command/Reset": ("reset", _FLAG),
}

# Every metric that the device will ever tell, as its birth must name them.
METRICS: Mapping[str, MetricType] = {
    **{name: shown.datatype for name, shown in _SHOWN.items()},
    SAID: MetricType.TEXT,
    TO: _TEXT,
    **{name: datatype for name, (_, datatype) in COMMANDS.items()},
}

# What a verdict said is over once it was said: a birth that told it again would open a gate twice.
_STAYS = frozenset({"state", "hb"})


def typed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the metrics of a message's own kind say of it."""
    kind = fields["type"]
    return {name: shown.of(fields) for name, shown in _SHOWN.items() if shown.kind == kind}


def metrics_of(
    fields: Mapping[str, Any], now_ms: int, *, to_all: bool, historical: bool = False
) -> tuple[Metric, ...]:
    """A message of the line as metrics.

    now_ms  ms since 1970 UTC; for messages that do not say when they were made
    to_all  it was published; else it was said to whoever commands
    """
    at_ms = fields["t_wall_ns"] // _MS if "t_wall_ns" in fields else now_ms
    said = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    values = typed(fields) if to_all else {}
    values |= {SAID: said, TO: TO_ALL if to_all else TO_COMMANDER}
    return tuple(
        Metric(name, value, METRICS[name], at_ms, historical) for name, value in values.items()
    )


def stays(kind: str) -> bool:
    """Whether a birth tells what was last said of this kind."""
    return kind in _STAYS
