"""The third encoding: every message is one struct of 96 bytes, for soft PLCs.

It says less than the maps: names are shortened to numbers, texts are cut, lanes,
defects and gates of a web are left out. What it says is what a gate needs, and it
never says OK where the map does not.

    python -m kenpin.runtime.wire.struct_encoding > docs/wire/struct.v1.md
"""

from __future__ import annotations

import math
import re
import struct
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from kenpin.config.text import brief
from kenpin.runtime.judging.verdict import REASON_CODES, Outcome
from kenpin.runtime.wire.commands import COMMANDS, Command
from kenpin.runtime.wire.errors import WireError, explain_command
from kenpin.runtime.wire.struct_layouts import (
    CRC_AT,
    FLAGS_AT,
    LAYOUTS,
    MAGIC,
    SIZE,
    VERSION,
    Field,
    Layout,
)
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["STATE_NUMBERS", "pack", "pack_message", "table", "unpack", "unpack_command"]

_HEAD = struct.Struct("<IBBH")
_FLT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_HASH = re.compile(r"[0-9a-f]{12}$")
_ADDED = ("added_number", "added_text", "session", "why")
# By their numbers in an error.
_WHYS = (None, "stale", "duplicate", "paused")
# Of a boot's UUID, the first ones: 32 bits.
_BOOT_DIGITS = 8
# Numbers below are commands.
_FIRST_FROM_LINE = 32
_NUMBER = re.compile(r"[1-9][0-9]{0,19}")
_RANGES = {
    "Q": (0, 2**64 - 1),
    "q": (-(2**63), 2**63 - 1),
    "I": (0, 2**32 - 1),
    "h": (-(2**15), 2**15 - 1),
    "H": (0, 2**16 - 1),
    "B": (0, 255),
}

# These numbers are compiled into PLC programs: append, never change or reuse.
STATE_NUMBERS: Mapping[str, int] = {
    State.PREOPERATIONAL: 1,
    State.HALTED: 2,
    State.ERROR: 3,
    State.INITIALIZED: 4,
    State.READY: 5,
    State.SINGLE: 6,
    State.CONTINUOUS: 7,
}
_STATES = {number: state for state, number in STATE_NUMBERS.items()}
_KINDS = {layout.number: kind for kind, layout in LAYOUTS.items()}
_REASONS = {code: reason.value for reason, code in REASON_CODES.items()}


def pack_message(message: BaseModel) -> bytes:
    """The struct of anything that a line says or a client commands."""
    return pack(message.model_dump(mode="json"))


def pack(fields: Mapping[str, Any]) -> bytes:
    """The struct of a message, of its map: `type`, and whatever its layout holds.

    Numbers that do not fit are brought to the nearest that does, texts are cut.

    Raises
    ------
    WireError
        If the type has no struct, or a trigger's id is no number.
    """
    kind = fields.get("type")
    layout = LAYOUTS.get(kind) if isinstance(kind, str) else None
    if layout is None:
        raise WireError(f"found type {brief(kind)}, expected one of {', '.join(LAYOUTS)}")
    if kind == "trigger" and not _trig_number(fields.get("trig")):
        raise WireError(
            f"trig {brief(fields.get('trig'))}: in this encoding ids are whole numbers from 1 "
            "to 2**64 - 1, without leading zeros"
        )
    if layout.number < _FIRST_FROM_LINE:
        _refuse_cut(fields, layout)
        session = fields.get("session")
        if session is not None and not _session_number(session):
            raise WireError(
                f"session {brief(session)}: in this encoding sessions are numbers from 1 to 65535"
            )
    flat = _flattened(fields)
    buffer = bytearray(SIZE)
    _HEAD.pack_into(buffer, 0, MAGIC, VERSION, layout.number, SIZE)
    for field in layout.fields:
        struct.pack_into("<" + field.code, buffer, field.at, _put(field, flat.get(field.key)))
    flags = sum(1 << bit for bit, key in layout.flags if flat.get(key))
    struct.pack_into("<H", buffer, FLAGS_AT, flags)
    struct.pack_into("<I", buffer, CRC_AT, zlib.crc32(buffer[:CRC_AT]))
    return bytes(buffer)


def unpack(payload: bytes) -> dict[str, Any]:
    """What a struct says, under the keys of the maps: a part of what the map says.

    A verdict's `boot` and `bundle` are hex digits, its `lat_us` is a map with
    `total`, its `web` a map with `first_line` and `end_line`.

    Raises
    ------
    WireError
        If it is not a struct of version 1, is damaged, or says OK and not OK.
    """
    layout, kind = _checked(payload)
    (flags,) = struct.unpack_from("<H", payload, FLAGS_AT)
    found: dict[str, Any] = {"v": VERSION, "type": kind}
    for field in layout.fields:
        (raw,) = struct.unpack_from("<" + field.code, payload, field.at)
        value = _get(field, raw)
        # What was added later is left out where it says nothing, as in the maps.
        if value is not None or field.form not in _ADDED:
            found[field.key] = value
    found |= {key: bool(flags >> bit & 1) for bit, key in layout.flags}
    return _unflattened(kind, found)


def unpack_command(payload: bytes) -> Command:
    """The command in a struct.

    Raises
    ------
    WireError
        As `unpack`, or if it is no command.
    """
    try:
        return COMMANDS.validate_python(unpack(payload))
    except ValidationError as error:
        raise WireError(explain_command(error)) from error


def _refuse_cut(fields: Mapping[str, Any], layout: Layout) -> None:
    # What a line says may be cut for people. A command that is cut means something else.
    for field in layout.fields:
        if field.form in _TEXTS:
            text, most = str(fields.get(field.key) or ""), int(field.code[:-1])
            if len(text.encode()) > most:
                raise WireError(f"{field.key} {brief(text)}: at most {most} bytes fit a struct")


def _checked(payload: bytes) -> tuple[Layout, str]:
    if len(payload) != SIZE:
        raise WireError(f"{len(payload)} bytes, expected a struct of {SIZE}")
    magic, version, number, size = _HEAD.unpack_from(payload)
    if magic != MAGIC or size != SIZE:
        raise WireError(f"magic {magic:#010x}, size {size}; expected {MAGIC:#010x} and {SIZE}")
    if version != VERSION:
        raise WireError(f"found v {version}, this reader knows v 1; update the reader")
    if struct.unpack_from("<I", payload, CRC_AT)[0] != zlib.crc32(payload[:CRC_AT]):
        raise WireError("the CRC does not fit: the struct is damaged, or was filled in wrongly")
    kind = _KINDS.get(number)
    if kind is None:
        raise WireError(f"found type number {number}, which version 1 does not know")
    return LAYOUTS[kind], kind


# -- maps and flat fields ------------------------------------------------------------------


def _flattened(fields: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(fields)
    if fields["type"] == "state":
        flat |= fields["counts"]
    if fields["type"] == "late":
        flat["code"] = _code_of(fields.get("reason"))
    if fields["type"] == "verdict":
        web = fields.get("web")
        flat["lat_us"] = fields["lat_us"].get("total", 0)
        flat["has_enc"] = fields.get("enc") is not None
        flat["has_web"] = web is not None
        if web is not None:
            flat["first_line"] = web["first_line"]
            flat["lines"] = web["end_line"] - web["first_line"]
    return flat


def _unflattened(kind: str, found: dict[str, Any]) -> dict[str, Any]:
    if kind == "state":
        found["counts"] = {key: found.pop(key) for key in ("frames", "ok", "ng")}
    elif kind == "late":
        found["reason"] = _reason_of(found["code"])
    elif kind == "verdict":
        found["reason"] = _reason_of(found["code"])
        found["lat_us"] = {"total": found["lat_us"]}
        first, lines = found.pop("first_line"), found.pop("lines")
        if not found.pop("has_enc"):
            found["enc"] = None
        if found.pop("has_web"):
            found["web"] = {"first_line": first, "end_line": first + lines}
        _believe(found)
    return found


def _believe(found: Mapping[str, Any]) -> None:
    """Refuse an OK that is not proven, and an NG that does not say why."""
    if found["verdict"] not in (Outcome.OK, Outcome.NG):
        raise WireError(f"verdict {found['verdict']}, expected 1 (OK) or 2 (NG)")
    if found["verdict"] == Outcome.NG:
        if found["code"] == 0:
            raise WireError("NG without a reason")
        return
    score, thr = found["score"], found["thr"]
    if found["code"] or found["unsure"] or found["partial"] or found["late"]:
        raise WireError(f"OK, yet code {found['code']}, unsure, partial or late")
    if score is None or thr is None or not score <= thr:
        raise WireError(f"OK needs score <= thr, found {score} and {thr}")


def _code_of(reason: str | None) -> int:
    if reason is None:
        return 0
    # A reason of a later version must not look like none.
    return next((code for code, known in _REASONS.items() if known == reason), 2**15 - 1)


def _reason_of(code: int) -> str | None:
    return None if code == 0 else _REASONS.get(code, f"code_{code}".replace("-", "minus_"))


# -- single values -------------------------------------------------------------------------


def _put(field: Field, value: Any) -> int | float | bytes:
    if field.form in _TEXTS:
        return _TEXTS[field.form](value or "", int(field.code[:-1]))
    if field.form == "real":
        # Rounding keeps the order, so a score at or below its threshold stays there.
        return math.nan if value is None else max(-_FLT_MAX, min(_FLT_MAX, value))
    low, high = _RANGES[field.code]
    return max(low, min(high, _NUMBERS[field.form](value)))


def _get(field: Field, raw: Any) -> Any:
    return _READERS.get(field.form, lambda same: same)(raw)


def _cut(text: str, most: int) -> bytes:
    return text.encode()[:most].decode(errors="ignore").encode()


def _cut_front(text: str, most: int) -> bytes:
    return text.encode()[-most:].decode(errors="ignore").encode()


def _read_text(raw: bytes) -> str:
    try:
        return raw.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a text that is not UTF-8: {error}") from error


def _trig_number(trig: str | None) -> int:
    # Other clients may speak maps, and have ids that are no numbers.
    return int(trig) if trig and _NUMBER.fullmatch(trig) and int(trig) < 2**64 else 0


def _session_number(session: str | None) -> int:
    # Whoever speaks maps may have sessions that are no numbers.
    found = int(session) if session and _NUMBER.fullmatch(session) else 0
    return found if found < 2**16 else 0


def _bundle_number(label: str) -> int:
    found = _HASH.search(label or "")
    return int(found[0], 16) if found else 0


_TEXTS: Mapping[str, Callable[[str, int], bytes]] = {
    "text": _cut,
    "optional_text": _cut,
    "added_text": _cut,
    "text_end": _cut_front,
}
_NUMBERS: Mapping[str, Callable[[Any], int]] = {
    "number": lambda value: int(value),
    "zero": lambda value: value or 0,
    "optional": lambda value: value or 0,
    "added_number": lambda value: value or 0,
    "trig": _trig_number,
    "session": _session_number,
    "why": lambda why: _WHYS.index(why) if why else 0,
    "bundle": _bundle_number,
    "boot": lambda boot: int(boot[:_BOOT_DIGITS], 16),
    "state": lambda state: STATE_NUMBERS[state],
    "kind": lambda kind: LAYOUTS[kind].number if kind else 0,
}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "text": _read_text,
    "text_end": _read_text,
    "optional_text": lambda raw: _read_text(raw) or None,
    "added_text": lambda raw: _read_text(raw) or None,
    "session": lambda number: str(number) if number else None,
    "why": lambda number: _WHYS[number] if number < len(_WHYS) else None,
    "optional": lambda number: number or None,
    "added_number": lambda number: number or None,
    "real": lambda real: real if math.isfinite(real) else None,
    "trig": lambda number: str(number) if number else None,
    "bundle": lambda number: f"{number:012x}" if number else "",
    "boot": lambda number: f"{number:08x}",
    "state": lambda number: _STATES.get(number, f"state_{number}"),
    "kind": lambda number: _KINDS.get(number),
}


# -- for people ----------------------------------------------------------------------------

_C_TYPES = {
    "Q": "u64",
    "q": "i64",
    "I": "u32",
    "f": "f32",
    "h": "i16",
    "H": "u16",
    "B": "u8",
}


def table() -> str:
    """Every layout as a table in Markdown."""
    lines = [
        "# The struct encoding, byte by byte",
        "",
        f"Every message has {SIZE} bytes, little-endian. Bytes that a table does not name are 0",
        "when written and ignored when read. Texts are UTF-8, filled with zeros, not always ended",
        "by one. Printed by `python -m kenpin.runtime.wire.struct_encoding`.",
        "",
        "Every message begins and ends alike:",
        "",
        "| at | type | field | |",
        "| --- | --- | --- | --- |",
        f"| 0 | u32 | magic | {MAGIC:#010x}, the letters KNP1 |",
        f"| 4 | u8 | version | {VERSION} |",
        "| 5 | u8 | type | the number of the message type, see below |",
        f"| 6 | u16 | size | {SIZE} |",
        f"| {FLAGS_AT} | u16 | flags | bits, counted from the lowest |",
        f"| {CRC_AT} | u32 | crc | CRC-32 (IEEE 802.3, as zlib) of bytes 0 to {CRC_AT - 1} |",
        "",
        "States: " + ", ".join(f"{number} {state}" for number, state in _STATES.items()) + ".",
        "",
    ]
    for kind, layout in LAYOUTS.items():
        lines += [f"## {layout.number} {kind}", ""]
        if layout.fields:
            lines += ["| at | type | field | |", "| --- | --- | --- | --- |"]
            for field in sorted(layout.fields, key=lambda each: each.at):
                kind_of = _C_TYPES.get(field.code, f"char[{field.code[:-1]}]")
                lines.append(f"| {field.at} | {kind_of} | {field.key} | {field.note} |")
        if layout.flags:
            bits = ", ".join(f"{bit} {key}" for bit, key in layout.flags)
            lines += ["", f"Flags: {bits}."]
        if not layout.fields and not layout.flags:
            lines.append("Nothing but beginning and end.")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table())
