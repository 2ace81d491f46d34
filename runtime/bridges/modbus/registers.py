"""The registers of the Modbus bridge: the one table that server, simulated PLC and docs share.

Addresses count from 0, as in the protocol's bytes; 0 is what many PLC tools call 40001.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ACQUISITIONS",
    "ACQUISITIONS_AT",
    "BLOCKS",
    "CONTROL",
    "CONTROL_AT",
    "EMPTY_RESULT",
    "END",
    "IDENTITY",
    "IDENTITY_AT",
    "MAP_VERSION",
    "RESULT",
    "SLOTS",
    "SLOTS_AT",
    "STATUS",
    "STATUS_AT",
    "WINDOW_AT",
    "Bit",
    "Block",
    "BlockLayout",
    "Register",
    "bits_of",
    "next_number",
    "word_of",
]

# Of the registers, for a PLC to compare.
MAP_VERSION = 1
# Parts whose results stand there at once.
SLOTS = 8
_NUMBERS = 65535


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit of a word, counted from the lowest; names are In-Sight's where it has one."""

    at: int
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class Register:
    """One value.

    at    offset of its first register in its block
    form  u16, i16, u32, u48, u64, i64, f32, or textN: N registers of two letters each
    note  for people: unit, and what stands for "nothing"
    bits  of a word of flags
    """

    at: int
    name: str
    form: str
    note: str
    bits: tuple[Bit, ...] = ()

    @property
    def words(self) -> int:
        """How many registers it has."""
        return int(self.form[4:]) if self.form.startswith("text") else int(self.form[1:]) // 16


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """What a block of registers holds."""

    size: int
    registers: tuple[Register, ...]

    def encode(self, values: Mapping[str, Any], *, low_first: bool = False) -> list[int]:
        """The block's words. Numbers that do not fit are brought to the nearest that does."""
        words = [0] * self.size
        for register in self.registers:
            found = _ENCODE[_kind(register)](values[register.name], register.words)
            if low_first and not register.form.startswith("text"):
                found.reverse()
            words[register.at : register.at + register.words] = found
        return words

    def decode(self, words: Sequence[int], *, low_first: bool = False) -> dict[str, Any]:
        """The values in a block's words, by name."""
        values = {}
        for register in self.registers:
            found = list(words[register.at : register.at + register.words])
            if low_first and not register.form.startswith("text"):
                found.reverse()
            values[register.name] = _DECODE[_kind(register)](found)
        return values


def _kind(register: Register) -> str:
    return "text" if register.form.startswith("text") else register.form[0]


def _unsigned(value: int, words: int) -> list[int]:
    value = min(max(0, value), (1 << 16 * words) - 1)
    return [value >> 16 * (words - 1 - n) & 0xFFFF for n in range(words)]


def _signed(value: int, words: int) -> list[int]:
    half = 1 << (16 * words - 1)
    return _unsigned(min(max(-half, value), half - 1) % (2 * half), words)


def _real(value: float | None, _words: int) -> list[int]:
    number = math.nan if value is None else value
    try:
        packed = struct.pack(">f", number)
    except OverflowError:
        packed = struct.pack(">f", math.copysign(math.inf, number))
    return list(struct.unpack(">2H", packed))


def _text(value: str, words: int) -> list[int]:
    packed = value.encode("ascii", "replace")[: 2 * words].ljust(2 * words, b"\0")
    return list(struct.unpack(f">{words}H", packed))


def _number(words: Sequence[int]) -> int:
    value = 0
    for word in words:
        value = value << 16 | word
    return value


def _signed_number(words: Sequence[int]) -> int:
    value, bits = _number(words), 16 * len(words)
    return value - (1 << bits) if value >> (bits - 1) else value


def _real_number(words: Sequence[int]) -> float | None:
    found: float = struct.unpack(">f", struct.pack(">2H", *words))[0]
    return None if math.isnan(found) else found


def _letters(words: Sequence[int]) -> str:
    return struct.pack(f">{len(words)}H", *words).rstrip(b"\0").decode("ascii", "replace")


_ENCODE: Mapping[str, Callable[[Any, int], list[int]]] = {
    "u": _unsigned,
    "i": _signed,
    "f": _real,
    "text": _text,
}
_DECODE: Mapping[str, Callable[[Sequence[int]], Any]] = {
    "u": _number,
    "i": _signed_number,
    "f": _real_number,
    "text": _letters,
}


def word_of(bits: Sequence[Bit], **named: bool) -> int:
    """A word of flags, its bits by name."""
    places = {bit.name: bit.at for bit in bits}
    return sum(1 << places[name] for name, on in named.items() if on)


def bits_of(bits: Sequence[Bit], word: int) -> dict[str, bool]:
    """The flags in a word, by name."""
    return {bit.name: bool(word >> bit.at & 1) for bit in bits}


def next_number(number: int) -> int:
    """The number of the result after this one: 1 to 65535, then 1 again; 0 is none."""
    return number % _NUMBERS + 1


# -- what the PLC writes -------------------------------------------------------------------

CONTROL_BITS = (
    Bit(0, "trigger_enable", "triggers are taken only while it is 1"),
    Bit(1, "trigger", "toggle: each change triggers `trigger_id`"),
    Bit(2, "buffer_results", "1: results wait to be acknowledged; 0: the newest replaces"),
    Bit(4, "execute", "toggle: each change executes `command`"),
    Bit(7, "set_offline", "no triggers are taken"),
)
# What the PLC writes: its first register, and its words.
CONTROL_AT = 0
CONTROL = BlockLayout(
    16,
    (
        Register(0, "control", "u16", "bits", CONTROL_BITS),
        Register(
            1, "command", "u16", "1 reset, 2 self-test, 3 prepare and 4 activate `recipe`, "
            "5 begin and 6 end a roll",
        ),
        Register(
            2, "session", "u32", "new at each start of the PLC program, never 0: ids count "
            "within it",
        ),
        Register(4, "trigger_id", "u32", "of the part, from 1; the same again is the same part"),
        Register(6, "part_id", "u32", "yours, comes back in the result; 0: none"),
        Register(8, "budget_us", "u32", "µs to the verdict; 0: the line's own"),
        Register(10, "ack", "u16", "number of the result that was taken; 0: none"),
        Register(11, "recipe", "u16", "1 and above, as listed in the bridge's settings"),
    ),
)  # fmt: skip

# -- what the PLC reads --------------------------------------------------------------------

STATUS_BITS = (
    Bit(0, "trigger_ready", "a trigger may come now"),
    Bit(1, "trigger_ack", "follows `trigger` once it is in the books, or refused"),
    Bit(2, "acquiring", "triggered, and the part must not move yet"),
    Bit(3, "refused", "the last trigger was refused, see `refusal`"),
    Bit(4, "offline_enable", "offline for want of trigger_enable or a session"),
    Bit(5, "offline_plc", "offline by set_offline"),
    Bit(6, "offline_line", "offline for the line's state, or its silence"),
    Bit(7, "online", "none of the three"),
    Bit(8, "busy", "parts are under way"),
    Bit(9, "completed", "toggles with each result"),
    Bit(10, "overrun", "more than 8 results were not acknowledged, and the oldest are gone"),
    Bit(11, "results_valid", "the window holds a result to act on"),
    Bit(12, "executing", "a command is being executed"),
    Bit(13, "command_done", "the last command succeeded"),
    Bit(14, "command_failed", "the last command failed"),
    Bit(15, "error", "the line is silent or in its error state: reject"),
)
FLAG_BITS = (
    Bit(0, "fresh", "the last acknowledged trigger was a new part"),
    Bit(1, "degraded", "something needs a person; see `alarms`"),
    Bit(2, "sim", "recorded or simulated frames: act on nothing"),
    Bit(3, "selftest", "golden frames are being judged"),
    Bit(4, "cam_ok", "the camera works"),
    Bit(5, "execute_ack", "follows `execute` once the command is done"),
    Bit(6, "triggered", "frames are taken on triggers; 0: the line runs by itself"),
)
# What the bridge says of the line: its first register, and its words.
STATUS_AT = 100
STATUS = BlockLayout(
    50,
    (
        Register(0, "status", "u16", "bits", STATUS_BITS),
        Register(1, "flags", "u16", "bits", FLAG_BITS),
        Register(2, "state", "u16", "as in docs/protocol.md, 5 is ready; 0: the line is silent"),
        Register(3, "instance", "u16", "another number at each start of the bridge"),
        Register(
            4, "heartbeat", "u32", "the line's own, every 100 ms; still for 300 ms: reject",
        ),
        Register(6, "newest", "u16", "number of the newest result; 0: none yet"),
        Register(7, "slots", "u16", "bits 0 to 7: the slot's result may be acted on; 8 to 15: it "
                 "was not acknowledged in time"),
        Register(8, "triggers", "u16", "triggers in the books, modulo 65536"),
        Register(9, "acquired", "u16", "parts whose frame was taken, modulo 65536"),
        Register(10, "refusals", "u16", "triggers refused, modulo 65536"),
        Register(11, "refusal", "u16", "why the last was: 1 stale session, 2 another client has "
                 "the bridge's name, 3 the line did not obey, 4 the line is away, 5 no session, 6 "
                 "not enabled or offline, 7 id 0, 8 after "
            "too many mistakes"),
        Register(12, "session", "u32", "in force; 0: none"),
        Register(14, "trigger_id", "u32", "of the trigger last acknowledged"),
        Register(16, "budget_us", "u32", "µs that the line takes for it"),
        Register(18, "refused_id", "u32", "of the trigger last refused"),
        Register(20, "bundle", "u48", "in force: the 12 hex digits of its hash"),
        Register(23, "bundle_since_ns", "u64", "ns, monotonic clock of the box"),
        Register(27, "now_ns", "u64", "of the last heartbeat, the same clock"),
        Register(31, "boot", "u32", "first 8 hex digits; new at each start of the line"),
        Register(33, "commands", "u16", "commands executed, modulo 65536"),
        Register(34, "alarms", "u16", "how many are open"),
    ),
)  # fmt: skip

RESULT_BITS = (
    Bit(0, "unsure", "between the two thresholds"),
    Bit(1, "partial", "scan lines are missing"),
    Bit(2, "late", "the deadline had passed"),
    Bit(3, "sim", "act on nothing"),
    Bit(4, "has_enc", "`enc` is valid"),
    Bit(5, "has_web", "`first_line`, `lines` and lanes are valid"),
    Bit(6, "has_peak", "`peak_x` and `peak_y` are valid"),
    Bit(7, "has_deadline", "`deadline_us` is valid"),
    Bit(8, "judged", "a frame was taken and looked at"),
)
# What is known of one part, its result.
RESULT = BlockLayout(
    50,
    (
        Register(0, "verdict", "u16", "1 OK, 2 NG; 0: nothing"),
        Register(1, "number", "u16", "1 to 65535, then 1 again; 0: nothing"),
        Register(2, "valid", "u16", "1: act on it; 2: no longer, it was not taken; 0: nothing"),
        Register(3, "code", "i16", "reason; 0: OK"),
        Register(4, "trigger_id", "u32", "0: untriggered"),
        Register(6, "part_id", "u32", "as triggered"),
        Register(8, "seq", "u64", "of the line: 1, 2, 3, … per boot"),
        Register(12, "frame", "u32", "counts every frame started, modulo 2³²"),
        Register(14, "score", "f32", "dimensionless; NaN: none"),
        Register(16, "thr", "f32", "OK at or below; NaN: none"),
        Register(18, "flags", "u16", "bits", RESULT_BITS),
        Register(19, "n_defects", "u16", "on the part, or on the lines covered"),
        Register(20, "peak_x", "u32", "px, where the map is highest"),
        Register(22, "peak_y", "u32", "px"),
        Register(24, "bundle", "u48", "that judged: the 12 hex digits of its hash"),
        Register(27, "lat_us", "u32", "µs from the trigger, or else the last scan line"),
        Register(29, "deadline_us", "u32", "µs that were allowed"),
        Register(31, "now_ns", "u64", "when it was given, ns, monotonic clock of the box"),
        Register(35, "enc", "i64", "encoder count of the frame"),
        Register(39, "first_line", "i64", "of the web, covered from here"),
        Register(43, "lines", "u32", "scan lines covered; 0: none"),
        Register(45, "lanes", "u16", "how many lanes the web has"),
        Register(46, "lanes_ng", "u16", "bit n: lane n is not OK; lanes from 16 on are in bit 15"),
        Register(47, "session", "u32", "that the trigger belongs to"),
    ),
)  # fmt: skip
# A place in which no result stands.
EMPTY_RESULT = [0] * RESULT.size
# The first register of the one result to look at, and of all that stand there.
WINDOW_AT = 150
SLOTS_AT = 200

# What was acquired: its first register, and its words.
ACQUISITIONS_AT = SLOTS_AT + SLOTS * RESULT.size
ACQUISITIONS = BlockLayout(
    4 * SLOTS,
    tuple(
        register
        for n in range(SLOTS)
        for register in (
            Register(4 * n, f"trigger_id_{n}", "u32", f"the part acquired as number {n} modulo 8"),
            Register(4 * n + 2, f"frame_{n}", "u32", "its frame, modulo 2³²"),
        )
    ),
)
# Which line it is: its first register, and its words.
IDENTITY_AT = ACQUISITIONS_AT + ACQUISITIONS.size
IDENTITY = BlockLayout(
    65,
    (
        Register(0, "map_version", "u16", "of this map; registers are only ever added"),
        Register(1, "box", "text32", "the computer"),
        Register(33, "line", "text32", "the production line"),
    ),
)
# Behind the last register.
END = IDENTITY_AT + IDENTITY.size


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the map: where it lies, and what it is for."""

    at: int
    name: str
    layout: BlockLayout
    note: str


# All of the map, in order.
BLOCKS = (
    Block(CONTROL_AT, "control", CONTROL, "written by the PLC, best as one block in each cycle"),
    Block(STATUS_AT, "status", STATUS, "read it with the window behind it in one request"),
    Block(
        WINDOW_AT, "window", RESULT, "with buffer_results the oldest result that was not "
        "acknowledged, else the newest",
    ),
    *(
        Block(
            SLOTS_AT + n * RESULT.size, f"slot_{n}", RESULT,
            f"the result whose number is {(n + 1) % SLOTS} modulo 8" if n else
            "the result whose number is 1 modulo 8; after 65535 comes 1 in slot_0",
        )
        for n in range(SLOTS)
    ),
    Block(ACQUISITIONS_AT, "acquisitions", ACQUISITIONS, "the last eight parts that may move"),
    Block(IDENTITY_AT, "identity", IDENTITY, "never changes"),
)  # fmt: skip
