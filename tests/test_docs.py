"""The pages that lead a newcomer say what is there."""

from __future__ import annotations

import ast
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kenpin.config.bridges import BRIDGES
from kenpin.config.exits import Exit
from kenpin.config.line import Line, load_line
from kenpin.config.public_names import said_of_constants
from kenpin.config.sides import LINE_PARTS
from kenpin.config.web import WebSpec
from kenpin.runtime.judging.verdict import Reason

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
_ROOMS = "camera|compile|config|processes|runtime"
_CODE = re.compile(rf"(?<![\w/.])((?:{_ROOMS}|tests|benchmarks)/[\w/-]+\.\w+)")
_MODULE = re.compile(rf"\bkenpin\.(?:{_ROOMS})(?:\.\w+)*")
_TEMPLATE = ["Context", "Decision", "Consequences", "What would reverse it"]
_SHOWN = re.compile(r"^::: ([\w.]+)\n((?: .*\n)*)", re.M)
_PAGE = re.compile(r"(?<![\w/.])((?:docs|notes)/(?:[\w-]+/)*[\w-]+)")
# A page by its name alone, and a path that leads out of the folder that it is read from.
_NAMED = re.compile(r"\b[A-Z]{2,}\.md\b")
_OUTSIDE = re.compile(r"(?<![\w(/.])(?:\.\./)+[\w./-]+")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_modules_and_links_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = {link for link in _LINK.findall(text) if not (page.parent / link).exists()}
    missing |= {name for name in _NAMED.findall(text) if not list(ROOT.glob(name))}
    places = {name: (page.parent / name).resolve() for name in _OUTSIDE.findall(text)}
    missing |= {name for name, it in places.items() if ROOT not in it.parents or not it.exists()}
    # A superseded decision may speak of what has gone.
    if page not in DECISIONS:
        missing |= {name for name in _CODE.findall(text) if not (ROOT / name).exists()}
        missing |= {name for name in _MODULE.findall(text) if not _resolves(name)}
    assert not missing


def test_no_secret_is_to_lie_where_the_service_cannot_read_it() -> None:
    """/etc/kenpin is root's; below /var/lib/kenpin/LINE what root makes is the service's."""
    secret = re.compile(r"/etc/kenpin/[^\s\"`]*(?:key|users|people|password)[^\s\"`]*")
    texts = [*PAGES, *(ROOT / "runtime").rglob("*.py"), *(ROOT / "config").iterdir()]
    told = [page.read_text(encoding="utf-8") for page in texts if page.is_file()]
    assert [name for text in told for name in secret.findall(text)] == []


@pytest.mark.parametrize("line", ["line-demo", "line-simulator"])
def test_a_line_for_a_first_try_takes_the_bundle_that_make_demo_makes(line: str) -> None:
    made = re.search(r"kenpin.compile.demo (\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert made is not None
    bundles = load_line(ROOT / "config" / f"{line}.toml").bundles
    assert bundles.resolve() == ROOT / made[1] / "bundles"


def test_the_hook_before_a_commit_comes_with_the_virtual_environment() -> None:
    assert "`pre-commit install`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {name.partition(">=")[0] for name in project["optional-dependencies"]["dev"]}
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    called = set(re.findall(r"entry: \.venv/bin/([\w-]+)", hooks))
    assert {name.replace("lint-imports", "import-linter") for name in called} <= named
    assert "pre-commit" in named
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    assert "\npre-commit==" in pinned


def test_every_page_is_linked_by_another() -> None:
    linked = {
        target
        for page in PAGES
        for link in _LINK.findall(page.read_text(encoding="utf-8"))
        if (target := (page.parent / link).resolve()) != page
    }
    assert set(DOCS.rglob("*.md")) - linked == set()


def test_pages_that_the_code_names_are_there() -> None:
    named = {
        name
        for room in (*_ROOMS.split("|"), "tests", "benchmarks", "fuzz", "packaging")
        for file in (ROOT / room).rglob("*.py")
        for name in _PAGE.findall(file.read_text(encoding="utf-8"))
    }
    assert "docs/decisions/0067" in named, "found where it is named"
    assert {name for name in named if not list(ROOT.glob(f"{name}*"))} == set()


def _resolves(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_reason_and_exit_code_has_its_row_in_troubleshooting() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert [reason for reason in Reason if f"| `{reason}` |" not in page] == []
    listed = {
        int(code) for row in re.findall(r"^\| ([\d, ]+) \|", page, re.M) for code in row.split(",")
    }
    assert listed == {int(code) for code in Exit} - {Exit.DONE}


def test_every_kind_of_error_that_ends_a_command_has_its_row_in_troubleshooting() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("\n## A command ends with one sentence\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`(\w+Error)`", table))
    trees = [
        ast.parse(file.read_text(encoding="utf-8"))
        for room in _ROOMS.split("|")
        for file in (ROOT / room).rglob("*.py")
    ]
    answered = {name for tree in trees for name in _answered_with_an_exit(tree)}
    assert {"ConfigError", "BundleError", "LineSilentError"} <= answered, "found where they are"
    # Whoever is caught with a parent ends a command, too.
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    while more := {name for name, of in bases.items() if of & answered} - answered:
        answered |= more
    public = {name for name in answered if name in bases and name[0] != "_"}
    assert public - explained == set()
    assert explained - set(bases) == set(), "gone"


def _answered_with_an_exit(tree: ast.Module) -> Iterator[str]:
    """Names of the errors to which a command gives an exit code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                match key, value:
                    case ast.Name(id=name), ast.Attribute(value=ast.Name(id="Exit")):
                        yield name


def test_what_the_page_on_webs_writes_into_web_is_what_a_recipe_takes() -> None:
    page = (DOCS / "web.md").read_text(encoding="utf-8")
    tables = [tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)]
    webs = [table["web"] for table in tables if "web" in table]
    # A lane's gate needs to know how long a line is, which another example says.
    read = [WebSpec.model_validate({"along": {"line_pitch_mm": 0.1}} | web) for web in webs]
    assert any(web.along.encoder and web.offset_to_gate_mm for web in read)
    assert any(web.roll.length_mm for web in read)
    assert any(web.lanes for web in read)


def test_every_command_of_the_simulated_camera_is_on_its_page() -> None:
    words = (ROOT / "camera/simulator/csrc/words.c").read_text(encoding="utf-8")
    page = (DOCS / "simulator.md").read_text(encoding="utf-8")
    commands = set(re.findall(r'^    \{"(\w+)", say_', words, re.M))
    assert {"lost", "width"} <= commands
    assert commands - set(re.findall(r"[`|] ?`?(\w+)", page)) == set()
    # What one would look for there when a camera comes back by itself, or a width is a lie.
    assert "`lost [MS]`" in page
    assert "which only `back` brings about" in page
    assert "`width truth` and so on end it" in page


def test_every_alarm_has_its_row_in_troubleshooting() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("\n## Alarms\n")[2], re.M)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    raised = {name for file in (ROOT / "runtime").rglob("*.py") for name in _alarms_in(file)}
    raised |= set(BRIDGES.names())
    assert {"camera", "changeover", "archive"} <= raised, "found where they are raised"
    assert raised - explained == set()


def test_nothing_beside_a_line_may_be_called_like_a_part_of_the_line() -> None:
    """It would end that part's alarm, which stands for a camera or a disk, by being well itself."""
    raised = {name for file in (ROOT / "runtime").rglob("*.py") for name in _alarms_in(file)}
    assert raised - LINE_PARTS == set()
    text = (ROOT / "config" / "line-parts.toml").read_text(encoding="utf-8")
    for name in sorted(LINE_PARTS):
        beside = f'\n[[bridges]]\nkind = "modbus"\nname = "{name}"\n'
        with pytest.raises(ValueError, match=f"sides: {name} is what alarms call a part of the"):
            Line.model_validate(tomllib.loads(text + beside))


def _alarms_in(file: Path) -> Iterator[str]:
    """Names of alarms that a file raises, and of a side process, which raises its own."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="_alarms"), attr="note"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name
            case ast.Assign(targets=[ast.Name(id="part")], value=ast.Constant(value=str(name))):
                yield name


def test_every_decision_has_its_number_a_status_and_a_row_in_the_index() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for page in DECISIONS:
        title, empty, status, *_ = page.read_text(encoding="utf-8").split("\n")
        assert re.match(rf"# {int(page.name[:4])}\. \w", title), page.name
        assert (empty, status[:8]) == ("", "Status: "), page.name
        assert f"]({page.name}) | {status[8:]} |" in index, page.name
        said = re.findall(r"^\*\*([A-Z][a-z ]+)\.\*\* ", page.read_text(encoding="utf-8"), re.M)
        assert [one for one in said if one in _TEMPLATE] == _TEMPLATE, page.name


def test_every_module_stands_in_the_reference() -> None:
    shown = {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name, options in _SHOWN.findall(page.read_text(encoding="utf-8"))
        if "show_submodules: true" in options
    }
    modules = {
        ".".join(["kenpin", *file.relative_to(ROOT).with_suffix("").parts])
        for room in _ROOMS.split("|")
        for file in (ROOT / room).rglob("*.py")
        if file.stem != "__init__"
    }
    assert {name for name in modules if not _covered(name, shown)} == set()


def _covered(module: str, shown: set[str]) -> bool:
    return module in shown or any(module.startswith(f"{package}.") for package in shown)


def test_every_public_constant_has_a_line_that_the_reference_shows() -> None:
    said = {
        f"{file.relative_to(ROOT)} {name}": line
        for room in _ROOMS.split("|")
        for file in (ROOT / room).rglob("*.py")
        for name, line in said_of_constants(file.read_text(encoding="utf-8")).items()
    }
    assert said["config/methods.py METHODS"].startswith("Every method; further ones are entry")
    assert [name for name, line in said.items() if not line] == []
    # The generator reads them, too.
    assert "packaging/site_constants.py" in (ROOT / "zensical.toml").read_text(encoding="utf-8")


def test_what_is_said_of_a_constant_stands_above_it_behind_it_or_above_its_group() -> None:
    source = """
__all__ = ["A", "B", "C", "D", "E", "f"]
# Two lines
# above.
A = 1
B, _C = 2, 3
C = 4  # behind
_OTHER = 5

D: int = 6
E = 7  # noqa: N816
def f(): ...
"""
    said = {"A": "Two lines above.", "B": "Two lines above.", "C": "behind", "D": "", "E": ""}
    assert said_of_constants(source) == said
