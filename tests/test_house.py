"""The house stays in order: names that mean one thing, and no hall where everything stands."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("camera", "compile", "config", "processes", "runtime")
# Whoever opens `runtime/` should see its concepts, not a list of files.
MOST_FILES = 12
# A verdict's fields, by their own names and the wire's (docs/decisions/0032).
VERDICT_FIELDS = (
    {"outcome", "verdict"},
    {"reason"},
    {"detail"},
    {"score"},
    {"thresholds", "thr", "thr_ng"},
    {"frame_index", "frame"},
    {"frame_name", "name"},
    {"captured_ns", "t_acq_ns"},
    {"judged_ns"},
    {"bundle"},
    {"peak_xy", "peak"},
    {"stages_us", "lat_us"},
)
NAMES_OF_A_VERDICT = 5


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


def test_a_process_stands_in_another_module_than_its_handle() -> None:
    """What a gateway hands out may only lead to the body: it lives, and waits, elsewhere."""
    handed_out = 0
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="Body"), args=[_, ast.Name(id=work), *_]):
                    handed_out += 1
                    here = functions.get(work)
                    assert here is None or _leads_to_a_body(here), f"{file}: {work}"
    assert handed_out > 8, "found where they are handed out"


def test_whoever_starts_a_line_or_waits_for_a_child_is_kept_apart_from_tests_that_compute() -> None:
    """`make test` runs those of `clock` by themselves, and `make test-busy` beside busy loops."""
    apart = ("mark.clock", "mark.alone", "mark.real")
    unmarked = []
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        of_all = [n for n in tree.body if ast.unparse(n).startswith("pytestmark = ")]
        defined = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        named = {node.name: _names_in(node) for node in defined}
        for node in defined:
            marks = " ".join(ast.unparse(mark) for mark in (*node.decorator_list, *of_all))
            starts = {"RunningLine", "Child", "SideProcess"} & _reached(node.name, named)
            if node.name.startswith("test_") and starts and not any(m in marks for m in apart):
                unmarked.append(f"{file.name}: {node.name}")
    assert unmarked == []


def _names_in(node: ast.AST) -> set[str]:
    """What it calls, and what it is handed, such as a fixture."""
    found = {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and hasattr(n.func, "id")}
    return found | {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}


def _reached(name: str, named: dict[str, set[str]]) -> set[str]:
    """What a function of a module names, also by others of that module."""
    reached, new = set(), {name}
    while new:
        reached |= new
        new = {more for one in new for more in named.get(one, ())} - reached
    return reached


def _leads_to_a_body(function: ast.FunctionDef) -> bool:
    return any(
        "body" in f"{node.module} {[name.name for name in node.names]}".lower()
        for node in function.body
        if isinstance(node, ast.ImportFrom)
    )


def test_few_places_spell_out_a_verdicts_fields() -> None:
    found = sorted(
        f"{file.relative_to(ROOT)} {place}"
        for room in ("camera", "processes", "runtime")
        for file in (ROOT / room).rglob("*.py")
        for place, names in _places(ast.parse(file.read_text(encoding="utf-8")))
        if sum(bool(names & field) for field in VERDICT_FIELDS) >= NAMES_OF_A_VERDICT
    )
    assert found == [
        "runtime/bridges/modbus/plc.py _as_message",
        "runtime/bridges/modbus/reduced.py reduced",
        "runtime/bridges/modbus/result_words.py result_words",
        "runtime/bridges/opcua/result_fields.py result_fields",
        "runtime/judging/rule.py Verdict()",
        "runtime/judging/verdict.py LaneVerdict",
        "runtime/judging/verdict.py Verdict",
        "runtime/service/coordinator.py replace()",
        "runtime/wire/verdict_messages.py VerdictMessage",
        "runtime/wire/verdict_messages.py verdict_fields",
        "runtime/wire/web_messages.py WebLane",
        "runtime/wire/web_messages.py WebLane()",
    ], "count them in docs/decisions/0032, too"


def _places(tree: ast.Module) -> Iterator[tuple[str, set[object]]]:
    """Bodies of classes, calls by keywords, dicts and keys of a function: what each names."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name, body=body):
                fields = [one.target for one in body if isinstance(one, ast.AnnAssign)]
                yield name, {field.id for field in fields if isinstance(field, ast.Name)}
            case ast.Call(func=func, keywords=keywords):
                yield f"{ast.unparse(func)}()", {keyword.arg for keyword in keywords}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, set(_keys(node))


def _keys(function: ast.AST) -> Iterator[object]:
    for node in ast.walk(function):
        match node:
            case ast.Dict(keys=keys):
                yield from (key.value for key in keys if isinstance(key, ast.Constant))
            case ast.Subscript(slice=ast.Constant(value=value)):
                yield value
