"""JSON Schema of every message, for whoever writes a client in another language.

python -m kenpin.runtime.wire.schemas docs/wire
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

from kenpin.runtime.wire.commands import Command
from kenpin.runtime.wire.line_messages import PUBLISHED, REPLIES

__all__ = ["json_schemas"]


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 2020-12) of each message by its type; commands as `command.<type>`."""
    # Serialisation, because a line always sends every field; commands may leave some out.
    messages = {
        kind: model.model_json_schema(mode="serialization")
        for kind, model in {**PUBLISHED, **REPLIES}.items()
    }
    commands = {
        f"command.{model.model_fields['type'].annotation.__args__[0]}": model.model_json_schema()
        for model in get_args(Command)
    }
    return {
        kind: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:kenpin:wire:{kind}:v1",
            **schema,
        }
        for kind, schema in (messages | commands).items()
    }


def write(folder: Path) -> None:
    """One file for each message."""
    for kind, schema in json_schemas().items():
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{kind}.v1.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
