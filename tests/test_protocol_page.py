"""docs/protocol.md names what the code knows: every type, key, state, reason and default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from kenpin.config.line import LineTriggerSpec, WatchdogSpec, WireSpec
from kenpin.runtime.judging.verdict import REASON_CODES
from kenpin.runtime.service.ledger import READERS, UNACKED_RING, WINDOW
from kenpin.runtime.wire.commands import Command
from kenpin.runtime.wire.map_encoding import MAX_COMMAND_BYTES
from kenpin.runtime.wire.struct_encoding import STATE_NUMBERS
from kenpin.runtime.wire.struct_layouts import LAYOUTS

PAGE = (Path(__file__).parents[1] / "docs/protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_every_message_is_on_the_page(kind: str) -> None:
    assert f"`{kind}`" in PAGE


@pytest.mark.parametrize("command", get_args(Command))
def test_every_key_of_every_command_is_on_the_page(command) -> None:
    for key in set(command.model_fields) - {"v", "type"}:
        assert f"`{key}`" in PAGE


def test_reasons_and_states_have_the_numbers_of_the_code() -> None:
    numbered = set(re.findall(r"^\| (\d+) \| `([a-z_.]+)` \|", PAGE, re.MULTILINE))
    reasons = {(str(code), reason.value) for reason, code in REASON_CODES.items()}
    states = {(str(number), str(state)) for state, number in STATE_NUMBERS.items()}
    assert numbered == reasons | states


def test_defaults_are_those_of_the_settings() -> None:
    wire, watch = WireSpec(), WatchdogSpec()
    for expected in (
        wire.ctl,
        wire.pub,
        f"`wire.resend_ms` ({wire.resend_ms:g} ms)",
        f"`trigger.max_in_flight` ({LineTriggerSpec(budget_ms=1).max_in_flight})",
        f"After {watch.hung_ms:g} ms without progress",
        f"At most {UNACKED_RING} unacknowledged",
        f"for the last {READERS} clients",
        f"the last {WINDOW:,} finished triggers",
        f"No command is longer than {MAX_COMMAND_BYTES // 1024} KiB",
        f"a `recipe` has at most {_room('trigger', 'recipe')} bytes",
        f"a `bundle` to prepare {_room('prepare', 'bundle')}, and longer ones are refused",
        f"detail you see the first {_room('error', 'detail')} bytes",
        "Where no frame came, `frame` is 0",
        'A PREPARE supersedes the one before it, whose client is told `failed`, "superseded"',
    ):
        assert expected is not None
        assert re.sub(r"\s+", " ", expected) in re.sub(r"\s+", " ", PAGE)


def _room(kind: str, key: str) -> str:
    """Bytes of a text in a struct."""
    (field,) = (each for each in LAYOUTS[kind].fields if each.key == key)
    return field.code.removesuffix("s")
