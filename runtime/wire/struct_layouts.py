"""Where each field lies in the 96 bytes of a struct message: tables, and nothing else.

For soft PLCs, whose programs map a STRUCT onto a buffer. Little-endian, every
field naturally aligned, widest first, booleans as bits of one word at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CRC_AT", "FLAGS_AT", "LAYOUTS", "MAGIC", "SIZE", "VERSION", "Field", "Layout"]

MAGIC = 0x31504E4B  # reads "KNP1" in memory
VERSION = 1
SIZE = 96
FLAGS_AT = 88
CRC_AT = 92


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    key    its key in the maps of the other encodings
    at     offset of its first byte
    code   as in Python's struct: Q u64, q i64, I u32, f float32, h i16, H u16, B u8,
           64s text
    form   how the value is written, see `struct_wire.py`
    note   for people: unit, and what stands for "nothing"
    """

    key: str
    at: int
    code: str
    form: str = "number"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """One message type: its number, its fields, and its bits in the word of flags."""

    number: int
    fields: tuple[Field, ...] = ()
    flags: tuple[tuple[int, str], ...] = ()


# Bit 3 says `sim` wherever it is said, so that one mask serves all.
_SIM = (3, "sim")
_NOW = Field("t_mono_ns", 32, "Q", note="ns, monotonic clock of the box")
_BUNDLE = Field("bundle", 40, "Q", "bundle", "the 12 hex digits of its hash; 0 none")
_BOOT = Field("boot", 76, "I", "boot", "the first 8 hex digits; new at each start")
_TRIG = Field("trig", 16, "Q", "trig", "the client's number of the part")
# Behind the flags, where version 1 had zeros at first.
_SESSION = Field(
    "session", 90, "H", "session", "number of the client's session; 0: none, or no number"
)


def _change(number: int) -> Layout:
    bundle = Field("bundle", 8, "Q", "bundle", _BUNDLE.note)
    return Layout(number, (bundle, Field("detail", 16, "56s", "text", "why it failed"), _BOOT))


# Byte 86 is the verdict of a verdict message and 0 in everything else that a line
# says: a program that looks at the wrong message cannot find an OK there.
LAYOUTS: Mapping[str, Layout] = {
    # -- commands --
    "hello": Layout(1, (_SESSION,)),
    "trigger": Layout(
        2,
        (
            Field("trig", 16, "Q", "trig", "1 and above, new for each part"),
            Field("recipe", 24, "48s", "optional_text", "empty: any"),
            Field("budget_us", 72, "I", "optional", "µs; 0: the line's own"),
            _SESSION,
        ),
    ),
    "ack": Layout(3, (Field("seq", 8, "Q", note="as in the verdict"),)),
    "status": Layout(4),
    "reset": Layout(5),
    "selftest": Layout(6),
    "prepare": Layout(7, (Field("bundle", 8, "80s", "text", "its label"),)),
    "activate": Layout(8, (Field("bundle", 8, "80s", "added_text", "its label; empty: any"),)),
    "roll_start": Layout(9, (Field("name", 8, "64s", "text", "empty: numbered"),)),
    "roll_stop": Layout(10),
    # -- published, and said to single clients --
    "verdict": Layout(
        32,
        (
            Field("seq", 8, "Q", note="1, 2, 3, … per boot"),
            Field("trig", 16, "Q", "trig", "0: untriggered"),
            Field("frame", 24, "Q", note="counts every frame started"),
            _NOW,
            _BUNDLE,
            Field("enc", 48, "q", "zero", "encoder count; valid if bit 4"),
            Field("first_line", 56, "q", "zero", "of the web, covered from here; valid if bit 5"),
            Field("score", 64, "f", "real", "dimensionless; NaN: none"),
            Field("thr", 68, "f", "real", "OK at or below; NaN: no bundle yet"),
            Field("lines", 72, "I", "zero", "scan lines covered; 0: none, or not a web"),
            _BOOT,
            Field("lat_us", 80, "I", note="µs, total; 4294967295: that or more"),
            Field("code", 84, "h", note="reason; 0: OK"),
            Field("verdict", 86, "B", note="1 OK, 2 NG"),
            _SESSION,
        ),
        ((0, "unsure"), (1, "partial"), (2, "late"), _SIM, (4, "has_enc"), (5, "has_web")),
    ),
    "state": Layout(
        33,
        (
            Field("last_seq", 8, "Q", note="newest verdict; 0: none yet"),
            Field("frames", 16, "Q", note="verdicts since boot"),
            Field("ok", 24, "Q", note="of them OK"),
            _NOW,
            _BUNDLE,
            Field("ng", 48, "Q", note="of them NG"),
            _BOOT,
            Field("state", 84, "B", "state", "see the states"),
            _SESSION,
        ),
        ((0, "selftest"), (1, "degraded"), _SIM),
    ),
    "hb": Layout(
        34,
        (
            Field("hb_seq", 8, "Q", note="1, 2, 3, … per boot"),
            Field("last_seq", 16, "Q", note="newest verdict"),
            Field("late_count", 24, "Q", note="late verdicts since boot"),
            _NOW,
            _BUNDLE,
            Field("in_flight", 72, "I", note="triggers and frames without a verdict"),
            _BOOT,
            Field("state", 84, "B", "state", "see the states"),
        ),
        ((0, "cam_ok"),),
    ),
    "late": Layout(
        35,
        (
            _NOW,
            _BUNDLE,
            Field("score", 64, "f", "real", "dimensionless; NaN: none"),
            _BOOT,
            Field("code", 84, "h", note="reason; 0: it would have been OK"),
        ),
    ),
    "alarm": Layout(
        36,
        (
            Field("source", 8, "16s", "text", "the part it is about"),
            Field("detail", 24, "48s", "text", "for people"),
            _BOOT,
        ),
        ((0, "active"),),
    ),
    "roll": Layout(37, (Field("page", 8, "64s", "text_end", "path; its end"), _BOOT)),
    # -- said to single clients only --
    "trigger_ack": Layout(
        48,
        (
            Field("deadline_ns", 8, "Q", note="of the verdict, ns, monotonic clock of the box"),
            _TRIG,
            _NOW,
            _BOOT,
            _SESSION,
        ),
        ((0, "fresh"), (1, "overrun")),
    ),
    "acquired": Layout(
        49, (_TRIG, Field("frame", 24, "Q", note="as in the verdict"), _NOW, _BOOT, _SESSION)
    ),
    "error": Layout(
        50,
        (
            Field("about", 8, "B", "kind", "type of the command; 0: unreadable"),
            Field("reason", 9, "B", "why", "1 stale, 2 duplicate, 3 paused; 0: see the detail"),
            Field("pause_ms", 10, "H", "added_number", "with 3: ms until it is heard again"),
            Field("trig", 16, "Q", "trig", "0: about none"),
            Field("detail", 24, "48s", "text", "for people"),
            _BOOT,
        ),
    ),
    "preparing": _change(51),
    "prepared": _change(52),
    "active": _change(53),
    "failed": _change(54),
    "selftest_done": Layout(
        55, (Field("detail", 16, "56s", "text", "what failed"), _BOOT), ((0, "passed"),)
    ),
    "resetting": Layout(56, (_BOOT,)),
    "roll_ack": Layout(57, (_BOOT,), ((0, "running"),)),
}
