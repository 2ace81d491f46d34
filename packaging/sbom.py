"""What a package is made of, as CycloneDX 1.6: every component, every file, with its SHA-256.

    python packaging/sbom.py -o compiler.cdx.json    of this Python's environment

https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["component", "document", "file_component", "main"]


def document(about: dict[str, Any], parts: Sequence[dict[str, Any]], epoch: int) -> str:
    """The bill of materials, as text; the same for the same parts.

    Parameters
    ----------
    about
        The component that all of it is about.
    epoch
        Seconds since 1970, for its date.
    """
    depends = [
        {"ref": about["bom-ref"], "dependsOn": sorted(part["bom-ref"] for part in parts)},
        *({"ref": part["bom-ref"]} for part in parts),
    ]
    tree = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": about,
        },
        "components": list(parts),
        "dependencies": depends,
    }
    body = json.dumps(tree, sort_keys=True)
    tree["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, body)}"
    return json.dumps(tree, indent=1, sort_keys=True) + "\n"


def component(
    name: str,
    version: str,
    *,
    licence: str = "",
    purl: str = "",
    kind: str = "library",
    wheel: tuple[str, str] | None = None,
    files: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One distribution.

    Parameters
    ----------
    wheel
        File name and SHA-256 of what was fetched.
    files
        What was installed of it.
    """
    made: dict[str, Any] = {
        "type": kind,
        "bom-ref": f"{name}@{version}",
        "name": name,
        "version": version,
    }
    if purl:
        made["purl"] = purl
    if licence:
        made["licenses"] = [_licence(licence)]
    if wheel:
        fetched = {"type": "distribution", "url": wheel[0], "hashes": [_sha256(wheel[1])]}
        made["externalReferences"] = [fetched]
    if files:
        made["components"] = list(files)
    return made


def file_component(name: str, data: bytes) -> dict[str, Any]:
    """One file, by its path on the box."""
    digest = hashlib.sha256(data).hexdigest()
    return {"type": "file", "name": name, "bom-ref": f"file:{name}", "hashes": [_sha256(digest)]}


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _licence(licence: str) -> dict[str, Any]:
    if "LicenseRef" not in licence and " " in licence:
        return {"expression": licence}
    return {"license": {"name" if "LicenseRef" in licence else "id": licence}}


def _environment() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """kenpin, and every other distribution of this environment with its files."""
    parts = []
    # Of two of one name, such as an installed one and its source tree, the first is imported.
    first: dict[str, metadata.Distribution] = {}
    for found in metadata.distributions():
        first.setdefault(found.name.lower().replace("_", "-"), found)
    for name, found in sorted(first.items()):
        files = []
        for file in found.files or ():
            path = Path(str(file.locate()))
            if path.is_file() and path.suffix != ".pyc":
                files.append(file_component(str(file), path.read_bytes()))
        unique = {entry["name"]: entry | {"bom-ref": f"{name}:{entry['name']}"} for entry in files}
        purl = f"pkg:pypi/{name}@{found.version}"
        parts.append(component(name, found.version, purl=purl, files=list(unique.values())))
    kenpin = [part for part in parts if part["name"] == "kenpin"]
    if not kenpin:
        raise SystemExit("kenpin is not installed in this environment")
    about = {k: v for k, v in kenpin[0].items() if k != "components"} | {"type": "application"}
    about["bom-ref"] = "kenpin-compiler"
    return about, parts


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    from epoch import source_date_epoch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(document(*_environment(), source_date_epoch()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
