"""The companion specification's nodes, read from `machine_vision.txt`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "COMPANION_URI",
    "Arguments",
    "DataType",
    "Member",
    "NodeTable",
    "ObjectType",
    "StructureField",
    "companion",
]

# The namespace of OPC 40100-1, Machine Vision.
COMPANION_URI = "http://opcfoundation.org/UA/MachineVision"


@dataclass(frozen=True, slots=True)
class StructureField:
    """Of a structure, a method's arguments or an enumeration.

    kind   name of a data type; empty in an enumeration
    value  in an enumeration
    """

    name: str
    kind: str = ""
    many: bool = False
    optional: bool = False
    value: int = 0


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type.

    above   name of its supertype
    binary  number of its encoding's node, if it is a structure
    values  number of the node with an enumeration's values
    fields  its own ones, without those of its supertype
    """

    number: int
    name: str
    above: str
    abstract: bool
    binary: int
    values: int
    fields: tuple[StructureField, ...]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a method is given, or gives; `number` of the node that says so."""

    number: int
    fields: tuple[StructureField, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A node below an object type.

    what     property, variable, object, method, state or transition
    rule     M mandatory, O optional, - none
    field    type of a property or variable; of an object, `kind` is its type's name
    given    what a method is given; `gives` what it gives
    counted  number of the node with a state's or transition's number, and that number
    between  the states that a transition leads from and to
    by, then the methods that cause it, and the event types that it has for an effect
    """

    what: str
    number: int
    name: str
    rule: str
    field: StructureField | None = None
    given: Arguments | None = None
    gives: Arguments | None = None
    counted: tuple[int, int] | None = None
    between: tuple[int, int] | None = None
    by: tuple[int, ...] = ()
    then: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object type, or a type of events; `above` is its supertype's name."""

    number: int
    name: str
    above: str
    abstract: bool
    members: tuple[Member, ...]


class NodeTable:
    """All of them.

    data   data types by name, supertypes first
    types  object types by name, supertypes first
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.data: dict[str, DataType] = {}
        self.types: dict[str, ObjectType] = {}
        name, head, members = "", ("", 0, "", False), list[Member]()

        def close() -> None:
            if name:
                _, number, above, abstract = head
                self.types[name] = ObjectType(number, name, above, abstract, tuple(members))

        for line in lines:
            words = line.split()
            if not words or words[0] == "#":
                continue
            if words[0] == "data":
                found = _data(words)
                self.data[found.name] = found
            elif words[0] == "type":
                close()
                name, members = words[2], []
                head = words[0], int(words[1]), words[4], "abstract" in words
            else:
                members.append(_member(words))
        close()

    def whole(self, data: DataType) -> tuple[StructureField, ...]:
        """All fields of a structure, its supertype's first."""
        above = self.data.get(data.above)
        return (self.whole(above) if above else ()) + data.fields

    def number(self, name: str) -> int | None:
        """Of a type of the companion specification; None if it is none of it."""
        found = self.data.get(name) or self.types.get(name)
        return found.number if found else None

    def members(self, name: str) -> Iterator[Member]:
        """Of an object type, without those of its supertypes."""
        yield from self.types[name].members

    def member(self, name: str, member: str) -> Member:
        """A member of an object type, by its name."""
        return next(found for found in self.types[name].members if found.name == member)


@cache
def companion() -> NodeTable:
    """The specification's."""
    text = Path(__file__).with_name("machine_vision.txt").read_text(encoding="utf-8")
    return NodeTable(text.splitlines())


def _data(words: list[str]) -> DataType:
    head, fields = " ".join(words[1:]).partition(":")[::2]
    heads = head.split()
    if "values" in heads:
        # The colon stands behind the number of the node with the values.
        pairs = (word.partition("=")[::2] for word in fields.split())
        found = tuple(StructureField(name, value=int(value)) for name, value in pairs)
    else:
        found = tuple(map(_field, fields.split()))
    return DataType(
        number=int(heads[0]),
        name=heads[1],
        above=heads[3],
        abstract="abstract" in heads,
        binary=_after(heads, "binary"),
        values=_after(heads, "values"),
        fields=found,
    )


def _member(words: list[str]) -> Member:
    what, number, name = words[0], int(words[1]), words[2]
    if what == "transition":
        begin, end = words[4].split(">")
        return Member(
            what, number, name, "-",
            counted=_counted(words[3]),
            between=(int(begin), int(end)),
            by=_numbers(words, "by"),
            then=_numbers(words, "then"),
        )  # fmt: skip
    rule = words[3]
    if what == "state":
        return Member(what, number, name, rule, counted=_counted(words[4]))
    if what == "method":
        given, gives = _arguments(words, "in"), _arguments(words, "out")
        return Member(what, number, name, rule, given=given, gives=gives)
    return Member(what, number, name, rule, _field(f"{name}:{words[4]}"))


def _field(word: str) -> StructureField:
    name, _, kind = word.partition(":")
    optional, kind = kind.endswith("?"), kind.removesuffix("?")
    return StructureField(name, kind.removesuffix("[]"), kind.endswith("[]"), optional)


def _counted(word: str) -> tuple[int, int]:
    node, number = word.split("=")
    return int(node), int(number)


def _after(words: list[str], key: str) -> int:
    return int(words[words.index(key) + 1]) if key in words else 0


def _numbers(words: list[str], key: str) -> tuple[int, ...]:
    if key not in words:
        return ()
    rest = words[words.index(key) + 1 :]
    found = []
    for word in rest:
        if not word.isdigit():
            break
        found.append(int(word))
    return tuple(found)


def _arguments(words: list[str], key: str) -> Arguments | None:
    if key not in words:
        return None
    begin = words.index(key) + 1
    end = words.index("out") if key == "in" and "out" in words else len(words)
    return Arguments(int(words[begin]), tuple(map(_field, words[begin + 1 : end])))
