"""The producer's own header against the binding, and what the library shows to the outside."""

import re
import subprocess
from pathlib import Path

import genicam
import pytest
from genicam import gentl

from kenpin.camera.simulator.build import SOURCES

CONSTANT = re.compile(r"\b([A-Z][A-Z0-9_]+) = (-?\d+)\b")
# The one enumeration whose members the binding does not name in a class of its own.
CLASSES = [thing for thing in vars(gentl).values() if isinstance(thing, type)]


def constants() -> dict[str, int]:
    return {name: int(value) for name, value in CONSTANT.findall((SOURCES / "gentl.h").read_text())}


def exported(library: Path) -> set[str]:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    )
    return {line.split()[-1].split("@")[0] for line in listed.stdout.splitlines()}


def test_the_header_holds_the_constants_that_matter() -> None:
    assert len(constants()) > 140


@pytest.mark.parametrize(("name", "value"), sorted(constants().items()))
def test_every_constant_is_what_the_binding_says(name: str, value: int) -> None:
    # The binding leaves the TL_ out of nothing, but says 2D for what starts with a digit.
    theirs = {int(getattr(kind, name)) for kind in CLASSES if hasattr(kind, name)}
    assert theirs == {value}


def test_the_library_shows_the_functions_of_gentl_and_nothing_else(producer: Path) -> None:
    other = exported(Path(genicam.__file__).with_name("viky.cti"))
    functions = {name for name in other if re.match(r"(GC|TL|IF|Dev|DS|Event)[A-Z]", name)}
    assert exported(producer) == functions
