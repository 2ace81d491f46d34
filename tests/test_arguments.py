"""Numbers on a command line: one that cannot be is refused before anything begins."""

from __future__ import annotations

import argparse

import pytest

import kenpin
from kenpin.camera.record_cli import main as record
from kenpin.compile.cli import main as edge_compile
from kenpin.config.arguments import not_negative, positive, seed_number, share, whole
from kenpin.config.exits import Exit
from kenpin.runtime.doctor import main as edge_doctor
from kenpin.runtime.plc.cli import main as edge_plc
from kenpin.runtime.replay import main as edge_replay
from kenpin.runtime.service.cli import main as edge_run


def test_a_number_that_can_be_is_that_number() -> None:
    assert (positive("0.5"), not_negative("0"), share("1"), whole("7")) == (0.5, 0.0, 1.0, 7)
    assert seed_number("0") == 0


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (positive, "0", "more than 0"),
        (positive, "inf", "more than 0"),
        (positive, "nan", "more than 0"),
        (positive, "ten", "more than 0"),
        (not_negative, "-1", "0 or more"),
        (share, "1.1", "0 to 1"),
        (whole, "0", "a whole number, 1 or more"),
        (whole, "2.5", "a whole number, 1 or more"),
        (seed_number, "-1", "a whole number, 0 or more"),
        (seed_number, "one", "a whole number, 0 or more"),
    ],
)
def test_one_that_cannot_be_is_named_with_what_was_expected(kind, text, expected) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^found {text}, expected {expected}$"):
        kind(text)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (record, ["line.toml", "-o", "here", "--frames", "0"]),
        (edge_compile, ["tune", "recipe.toml", "--budget-ms", "-4"]),
        (edge_doctor, ["rate", "bundle", "--widths", "0"]),
        (edge_doctor, ["tune", "bundle", "--batches", "0"]),
        (edge_plc, ["--rate-hz", "0"]),
        (edge_replay, ["frames", "--bundle", "b", "--threads", "0"]),
    ],
)
def test_no_command_begins_with_one(command, words, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        command(words)
    assert ended.value.code == Exit.USAGE
    assert f"found {words[-1]}, expected" in capsys.readouterr().err


@pytest.mark.parametrize("command", [edge_compile, edge_doctor, edge_plc, edge_replay, edge_run])
def test_every_command_says_its_version(command, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["--version"])
    assert ended.value.code == Exit.DONE
    assert capsys.readouterr().out == f"kenpin {kenpin.__version__}\n"
