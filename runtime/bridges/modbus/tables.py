"""The register map for people and for PLC tools, from the table that the code itself uses.

python -m kenpin.runtime.bridges.modbus.tables > docs/bridges/modbus-registers.md
python -m kenpin.runtime.bridges.modbus.tables csv > docs/bridges/modbus-registers.csv
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator

from kenpin.runtime.bridges.modbus.registers import BLOCKS, CONTROL, RESULT, Block, Register

__all__ = ["as_csv", "as_page"]

# 40001 is address 0 in the tools that count so.
_HOLDING = 40001
_HEAD = """# The registers, one by one

Addresses count from 0, as in the protocol's bytes; 0 is 40001 in tools that count so. All are
holding registers (functions 3, 6, 16, 23) and may be read as input registers (function 4), too.
Longer numbers have their high word first, unless `words = "low_first"`. u: unsigned, i: two's
complement, f32: IEEE 754, text: two ASCII letters to a register, filled with zeros. Printed by
`python -m kenpin.runtime.bridges.modbus.tables`; the same as CSV, for PLC tools, is
`modbus-registers.csv`.
"""


def as_page() -> str:
    """The map as a page of the documentation."""
    return "\n".join([_HEAD, *_page_lines()]) + "\n"


def _page_lines() -> Iterator[str]:
    for block in BLOCKS:
        if block.layout is RESULT:
            continue
        yield f"## {block.name}, from {block.at}\n\n{block.note}\n"
        yield from _rows(block)
    yield f"## results, {RESULT.size} registers each\n"
    for block in BLOCKS:
        if block.layout is RESULT:
            yield f"* `{block.name}`, from {block.at}: {block.note}"
    yield "\nOffsets count from there.\n"
    yield from _rows(Block(0, "result", RESULT, ""))


def _rows(block: Block) -> Iterator[str]:
    yield "| at | type | register | |\n| --- | --- | --- | --- |"
    flagged = []
    for register in block.layout.registers:
        yield f"| {block.at + register.at} | {register.form} | {register.name} | {register.note} |"
        if register.bits:
            flagged.append(register)
    yield ""
    for register in flagged:
        yield f"Bits of `{register.name}`, counted from the lowest:\n"
        yield "| bit | name | |\n| --- | --- | --- |"
        yield from (f"| {bit.at} | {bit.name} | {bit.note} |" for bit in register.bits)
        yield ""


def as_csv() -> str:
    """The map for PLC tools: one line for each register of each block, and for each bit."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(["name", "address", "modicon", "registers", "type", "access", "comment"])
    for block in BLOCKS:
        access = "read/write" if block.layout is CONTROL else "read"
        for register in block.layout.registers:
            write.writerow([*_columns(block, register), access, register.note])
            for bit in register.bits:
                name, address, modicon, *_ = _columns(block, register)
                write.writerow(
                    [f"{name}.{bit.name}", f"{address}.{bit.at}", modicon, 1, "bit", access,
                     bit.note]
                )  # fmt: skip
    return out.getvalue()


def _columns(block: Block, register: Register) -> list[object]:
    at = block.at + register.at
    return [f"{block.name}.{register.name}", at, _HOLDING + at, register.words, register.form]


if __name__ == "__main__":
    sys.stdout.write(as_csv() if sys.argv[1:] == ["csv"] else as_page())
