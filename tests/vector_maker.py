"""Vectors of the wire that need more than one encoding: how they were made, and how to add some.

    python tests/vector_maker.py

appends to `tests/vectors/messages.json` what it does not hold yet, and never
changes what it holds: readers in other languages are tested against these bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kenpin.runtime.wire.commands import COMMANDS
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.line_messages import PUBLISHED, REPLIES
from kenpin.runtime.wire.struct_encoding import pack, unpack

VECTORS = Path(__file__).parent / "vectors"
FILE = VECTORS / "messages.json"

HEAD = {
    "v": 1,
    "box": "box-7",
    "line": "web-1",
    "boot": "3f2b8c1e-5d0a-4c77-9e21-0a6b7c8d9e10",
    "t_mono_ns": 5018300001,
}
BUNDLE = "fabric03@9c1e6d0b42af"
STATE = "operational.ready"

# On a part: at the edge of the frame, and one position large.
DEFECTS = [
    {
        "left_px": 4064, "top_px": 232, "right_px": 4096, "bottom_px": 256, "area_px": 640,
        "peak": 1.5, "mean": 1.0, "peak_xy": [4092, 252],
    },
    {
        "left_px": 0, "top_px": 8, "right_px": 8, "bottom_px": 16, "area_px": 64,
        "peak": 0.75, "mean": 0.75, "peak_xy": [4, 12],
    },
]  # fmt: skip

TOLD: list[tuple[str, dict[str, Any]]] = [
    (
        "a heartbeat",
        {
            "type": "hb", "hb_seq": 7, "state": STATE, "last_seq": 41, "in_flight": 1,
            "bundle": BUNDLE, "cam_ok": True, "late_count": 2,
        },
    ),
    (
        "a heartbeat with numbers at their largest",
        {
            "type": "hb", "hb_seq": 2**64 - 1, "state": "error", "last_seq": 2**64 - 1,
            "in_flight": 2**64 - 1, "bundle": "", "cam_ok": False, "late_count": 2**64 - 1,
        },
    ),
    (
        "a result that came too late",
        {
            "type": "late", "score": 0.25, "verdict": 1, "reason": None, "bundle": BUNDLE,
            "web": None,
        },
    ),
    (
        "a late defect",
        {
            "type": "late", "score": 1.5, "verdict": 2, "reason": "defect", "bundle": BUNDLE,
            "web": None,
        },
    ),
    (
        "late lines of a web, whose places are known to three tenths of a millimetre",
        {
            "type": "late", "score": 1.5, "verdict": 2, "reason": "defect", "bundle": BUNDLE,
            "web": {
                "first_line": 4096, "end_line": 4608, "first_mm": 409.5, "end_mm": 435.25,
                "within_mm": 0.3125, "first_count": 8190.0, "end_count": 8705.0,
                "rescanned": False,
                "lanes": [
                    {
                        "name": "web", "verdict": 2, "reason": "defect", "score": 1.5,
                        "thr": 0.5, "thr_ng": 0.625, "ng_runs": [[4200, 4232]],
                    }
                ],
                "defects": [
                    {
                        "number": 3, "first_line": 4200, "end_line": 4232, "left_px": 64,
                        "right_px": 96, "area_px": 640, "peak": 1.5, "mean": 1.0,
                        "peak_line": 4212, "peak_px": 76, "lane": "web", "lanes": ["web"],
                        "open": False, "cut": True, "continues": None, "absorbed": [],
                        "web_mm": 414.75, "length_mm": 1.625, "left_mm": None,
                        "width_mm": None, "area_mm2": None, "within_mm": 0.25,
                    }
                ],
                "n_defects": 1,
                "gaps": [
                    {"first_line": 4096, "end_line": 4128, "cause": "context", "known": True}
                ],
                "gates": [
                    {
                        "lane": "web", "from_mm": 914.5, "to_mm": 916.625, "from_count": 18290,
                        "to_count": 18333, "from_raw": 18290, "to_raw": 18333, "late": False,
                    }
                ],
                "open_since": None,
            },
        },
    ),
    (
        "an alarm; its text is longer than a struct holds",
        {
            "type": "alarm", "source": "camera", "active": True,
            "detail": "the camera is lost: 検品 the cable or the switch, then wait",
        },
    ),
    ("the end of an alarm", {"type": "alarm", "source": "camera", "active": False, "detail": ""}),
    ("a roll", {"type": "roll", "page": "/var/lib/kenpin/rolls/coil-7.html"}),
    (
        "a trigger in the books",
        {
            "type": "trigger_ack", "trig": "4711", "fresh": True, "deadline_ns": 5098300001,
            "overrun": False,
        },
    ),
    (
        "a known trigger of a client that does not acknowledge",
        {
            "type": "trigger_ack", "trig": "4711", "fresh": False, "deadline_ns": 5098300001,
            "overrun": True,
        },
    ),
    ("the part may move", {"type": "acquired", "trig": "4711", "frame": 12}),
    (
        "a trigger in the books of a session",
        {
            "type": "trigger_ack", "trig": "1", "session": "29", "fresh": True,
            "deadline_ns": 5098300001, "overrun": False,
        },
    ),
    (
        "the part of a session may move; a struct has no name for it",
        {"type": "acquired", "trig": "1", "session": "shift-2", "frame": 12},
    ),
    (
        "an id of a session that has ended",
        {
            "type": "error", "about": "trigger", "trig": "1", "reason": "stale",
            "detail": "stale: session '28' is not in force, '29' is; say HELLO",
        },
    ),
    (
        "a client under a name that is taken",
        {
            "type": "error", "about": "hello", "trig": None, "reason": "duplicate",
            "detail": "duplicate: another client calls itself 'plc'",
        },
    ),
    (
        "a trigger of a client that made too many mistakes",
        {
            "type": "error", "about": "trigger", "trig": "4711", "reason": "paused",
            "pause_ms": 640,
            "detail": "paused: ignored for another 640 ms, after too many mistakes",
        },
    ),
    (
        "a command that cannot be obeyed",
        {
            "type": "error", "about": "trigger", "trig": "4711",
            "detail": "trigger '4711' was sent before for another recipe; choose a new id",
        },
    ),
    (
        "a command that cannot be read",
        {"type": "error", "about": None, "trig": None, "detail": "nonsense"},
    ),
    ("a change begins", {"type": "preparing", "bundle": BUNDLE, "detail": ""}),
    ("a bundle has proven itself", {"type": "prepared", "bundle": BUNDLE, "detail": ""}),
    ("another bundle judges", {"type": "active", "bundle": BUNDLE, "detail": ""}),
    (
        "a change failed",
        {"type": "failed", "bundle": BUNDLE, "detail": "golden frame 2 is off by 9 %"},
    ),
    ("a self-test", {"type": "selftest_done", "passed": True, "detail": ""}),
    ("a reset", {"type": "resetting"}),
    ("a roll runs", {"type": "roll_ack", "running": True}),
    (
        "a part with seventy defects, of which two are told",
        {
            "type": "verdict", "cam": "replay", "seq": 9, "trig": "4711", "frame": 8,
            "name": "", "verdict": 2, "reason": "defect", "code": 1, "detail": "", "score": 1.5,
            "thr": 0.5, "thr_ng": 0.625, "unsure": False, "peak": [4092, 252], "partial": False,
            "sim": False, "bundle": BUNDLE, "recipe_id": "fabric03", "t_acq_ns": 5000000000,
            "acq_clock": "monotonic", "t_wall_ns": 1767225600000000002, "clock_sync": "none",
            "enc": None, "lat_us": {"total": 18200}, "deadline_us": 40000, "late": False,
            "defects": DEFECTS, "n_defects": 70,
        },
    ),
]  # fmt: skip

COMMANDED: list[tuple[str, dict[str, Any]]] = [
    ("hello", {"v": 1, "type": "hello"}),
    ("hello in a session", {"v": 1, "type": "hello", "session": "29"}),
    (
        "a part of a session",
        {
            "v": 1, "type": "trigger", "trig": "1", "recipe": None, "budget_us": None,
            "session": "65535",
        },
    ),
    ("let this one judge", {"v": 1, "type": "activate", "bundle": BUNDLE}),
    ("any recipe", {"v": 1, "type": "trigger", "trig": "1", "recipe": None, "budget_us": None}),
    (
        "one recipe, soon",
        {
            "v": 1, "type": "trigger", "trig": "18446744073709551615", "recipe": "fabric03",
            "budget_us": 50_000,
        },
    ),
    ("a verdict has arrived", {"v": 1, "type": "ack", "seq": 41}),
    ("the largest number", {"v": 1, "type": "ack", "seq": 2**64 - 1}),
    ("another bundle", {"v": 1, "type": "prepare", "bundle": BUNDLE}),
    ("let it judge", {"v": 1, "type": "activate"}),
    ("golden frames", {"v": 1, "type": "selftest"}),
    ("a roll with a name", {"v": 1, "type": "roll_start", "name": "coil 7"}),
    ("the roll ends", {"v": 1, "type": "roll_stop"}),
    ("anew", {"v": 1, "type": "reset"}),
    ("where does it stand", {"v": 1, "type": "status"}),
]  # fmt: skip


def told() -> list[tuple[str, dict[str, Any]]]:
    """Verdicts and states of the older file, then all the others in the order of their schema."""
    older = json.loads((VECTORS / "wire.json").read_text(encoding="utf-8"))["canonical"]
    others = [(what, read(HEAD | fields).model_dump(mode="json")) for what, fields in TOLD]
    known = [(vector["what"], vector["message"]) for vector in older]
    for kind in ("verdict", "state"):
        what, fields = next(known for known in known if known[1]["type"] == kind)
        told = read(fields | {"session": "29"}).model_dump(mode="json")
        others.append((f"{what}, said to a client in its session", told))
    return known + others


def read(fields: dict[str, Any]) -> Any:
    """What a line says, of its map."""
    return {**PUBLISHED, **REPLIES}[fields["type"]].model_validate_json(json.dumps(fields))


def vector(what: str, fields: dict[str, Any], message: Any) -> dict[str, Any]:
    """One message in its three encodings, and what is left of it in the third."""
    packed = pack(fields)
    return {
        "what": what,
        "message": fields,
        "msgpack_hex": CODECS["msgpack"].write(message).hex(),
        "json": CODECS["json"].write(message).decode(),
        "struct_hex": packed.hex(),
        "struct_says": unpack(packed),
    }


def main() -> None:
    """Append what is new."""
    held = json.loads(FILE.read_text(encoding="utf-8"))
    for group, fresh in (
        ("told", [(w, f, read(f)) for w, f in told()]),
        ("commanded", [(w, f, COMMANDS.validate_python(f)) for w, f in COMMANDED]),
    ):
        known = {each["what"] for each in held[group]}
        held[group] += [vector(*each) for each in fresh if each[0] not in known]
    FILE.write_text(json.dumps(held, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
