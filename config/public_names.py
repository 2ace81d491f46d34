"""What a module says of its public constants, registries and types: the comment above each."""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["said_of_constants"]


def said_of_constants(source: str) -> dict[str, str]:
    """What is said of each name of a module's `__all__` that is given a value; empty if nothing.

    It is the comment above it, or behind it, or that above the first of several which stand
    together without a line between them.

    Parameters
    ----------
    source
        Of the module.
    """
    lines, body = source.split("\n"), ast.parse(source).body
    public = _public(body)
    found: dict[str, str] = {}
    said, end = "", 0
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            own = _above(lines, node.lineno) or _behind(lines, node)
            said = own or (said if node.lineno == end + 1 else "")
            found |= {name: said for name in _names(node) if name in public}
        end = node.end_lineno or 0
    return found


def _public(body: list[ast.stmt]) -> set[str]:
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in _names(node):
            return set(ast.literal_eval(node.value)) if node.value else set()
    return set()


def _names(node: ast.Assign | ast.AnnAssign) -> Iterator[str]:
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        for one in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(one, ast.Name):
                yield one.id


def _above(lines: list[str], lineno: int) -> str:
    first = last = lineno - 1
    while first and lines[first - 1].startswith("# "):
        first -= 1
    return " ".join(line[2:] for line in lines[first:last])


def _behind(lines: list[str], node: ast.stmt) -> str:
    assert node.end_lineno is not None
    # In bytes, as the parser counts.
    rest = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode().strip()
    # What a tool is told is nothing for people.
    return rest[2:] if rest.startswith("# ") and rest[2:5] not in ("noq", "typ", "fmt") else ""
