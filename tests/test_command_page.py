"""The reference of commands: as their parsers have them, and no option without a help text."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kenpin import command_page

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_every_command_and_option_is_in_the_reference_as_the_code_has_it() -> None:
    assert (DOCS / "reference/commands.md").read_text("utf-8") == command_page.as_page()


def test_an_option_without_a_help_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser(prog="edge-shrug", description="Do it.")
    parser.add_argument("--somehow", help="in some way")
    monkeypatch.setattr(command_page, "parsers", lambda: [parser])
    assert "| `--somehow SOMEHOW` | in some way |" in command_page.as_page()
    parser.add_argument("--otherwise")
    with pytest.raises(command_page.UnsaidArgumentError, match="edge-shrug `--otherwise"):
        command_page.as_page()
