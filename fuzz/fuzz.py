"""Coverage-guided fuzzing of one target with atheris; see README.md.

    python fuzz/fuzz.py command-json [libFuzzer options]

libFuzzer writes the input of a finding into the current folder. Atheris is no
dependency of kenpin: install it into an environment of its own.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris
import msgpack

# The import hook rewrites what is imported inside it.
with atheris.instrument_imports(include=["kenpin", "tomllib"]):
    import targets

DICTIONARY = ["v", "type", "trig", "recipe", "budget_us", "seq", "bundle", "name", "hello"]
DICTIONARY += ["trigger", "ack", "prepare", "activate", "selftest", "roll_start", "roll_stop"]
DICTIONARY += ["reset", "status", "verdict", "state", "detail", "score", "thr", "web", "null"]
DICTIONARY += ["true", "NaN", "Infinity", "schema_version", "camera", "kind", "synthetic", "wire"]
DICTIONARY += ["ctl", "pub", "tcp://", "ipc://", "[[", "curve", "public-key"]

# Targets whose inputs are no tree.
_BYTES = (
    "line",
    "keys",
    "command-struct",
    "message-struct",
    "modbus",
    "mqtt",
    "sparkplug",
    "opcua",
)
NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1e308, float("nan"),
    float("inf"), "", "\x00", "x" * 300, "\ud800", "\U0010ffff" * 130, [], {}, [[]], {"v": 1},
    {"": {}}, "../../etc/passwd", "v1/verdict/web-1",
]  # fmt: skip


def altered(tree: Any, chance: random.Random) -> Any:
    """The tree with one node replaced, removed, added or wrapped."""
    if isinstance(tree, dict) and tree and chance.random() < 0.8:
        key = chance.choice(list(tree))
        fields = dict(tree)
        match chance.randrange(4):
            case 0:
                del fields[key]
            case 1:
                fields[chance.choice(DICTIONARY)] = chance.choice(NASTY)
            case _:
                fields[key] = altered(fields[key], chance)
        return fields
    if isinstance(tree, list) and tree and chance.random() < 0.8:
        place = chance.randrange(len(tree))
        return [*tree[:place], altered(tree[place], chance), *tree[place + 1 :]]
    if chance.random() < 0.1:
        deep = tree
        for _ in range(chance.choice([1, 10, 500, 1100])):
            deep = [deep]
        return deep
    return chance.choice(NASTY)


def mutator(name: str) -> Any:
    """Half of the time bytes are mutated, half of the time the tree that they mean.

    The parsers are written in C and Rust and tell libFuzzer nothing: with bytes
    alone it would hardly ever get past them.
    """
    seeds, trees = targets.corpus(name), targets.good(name)

    def mutate(payload: bytes, room: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5 or name in _BYTES:
            return atheris.Mutate(payload if chance.random() < 0.7 else chance.choice(seeds), room)
        good = chance.choice(trees)
        binary = name.endswith("msgpack")
        tree = msgpack.unpackb(good) if binary else json.loads(good)
        for _ in range(chance.randint(1, 4)):
            tree = altered(tree, chance)
        with contextlib.suppress(ValueError, RecursionError):
            changed = (
                msgpack.packb(tree, unicode_errors="surrogatepass")
                if binary
                else json.dumps(tree, ensure_ascii=chance.random() < 0.5).encode(
                    errors="surrogatepass"
                )
            )
            if len(changed) <= room:
                return changed
        return atheris.Mutate(good, room)

    return mutate


def main() -> None:
    """Until a finding, or until libFuzzer's `-max_total_time`."""
    name = sys.argv.pop(1)
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seeds = folder / "seeds"
        seeds.mkdir()
        for number, payload in enumerate(targets.corpus(name)):
            (seeds / f"{number}").write_bytes(payload)
        words = folder / "words"
        words.write_text("".join(f'"{word}"\n' for word in DICTIONARY))
        # libFuzzer ends the process itself: nothing below atheris.Fuzz ever runs.
        sys.argv[1:1] = [f"-dict={words}", "-keep_seed=1", str(seeds)]
        atheris.Setup(sys.argv, target, custom_mutator=mutator(name))
        with contextlib.suppress(SystemExit):
            atheris.Fuzz()


if __name__ == "__main__":
    main()
