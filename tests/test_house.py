"""The house stays in order: names that mean one thing, and no hall where everything stands."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("camera", "compile", "config", "processes", "runtime")
# Whoever opens `runtime/` should see its concepts, not a list of files.
MOST_FILES = 12


def test_no_two_classes_have_one_name() -> None:
    where: defaultdict[str, list[str]] = defaultdict(list)
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    where[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


def test_few_files_stand_directly_in_the_runtime() -> None:
    files = sorted(file.name for file in (ROOT / "runtime").glob("*.py"))
    assert len(files) <= MOST_FILES, files
