"""Who keeps a package: named by whoever builds it, and reachable before it is handed out.

DEBFULLNAME and DEBEMAIL, as Debian's own tools take them; else `maintainers` of pyproject.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["maintainer_of", "unreachable"]

# RFC 2606 and RFC 6761: domains that belong to nobody, where no mail arrives.
_NOWHERE = ("example", "invalid", "test", "localhost", "example.com", "example.net", "example.org")
_ADDRESS = re.compile(r"[^@\s<>]+@([\w.-]+)")


def maintainer_of(project: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """`Name <address>`, as Debian writes it."""
    who = project["maintainers"][0]
    name = environ.get("DEBFULLNAME", who["name"])
    return f"{name} <{environ.get('DEBEMAIL', who['email'])}>"


def unreachable(maintainer: str) -> str:
    """Why nobody can write to a maintainer; empty if one can, as far as an address shows."""
    address = maintainer.rpartition("<")[2].removesuffix(">")
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return f"{address!r} is no address"
    domain = found[1].lower()
    if any(domain == place or domain.endswith(f".{place}") for place in _NOWHERE):
        return f"{address}: {domain} belongs to nobody, and no mail arrives there"
    if re.match(r"no-?reply\b", address, re.I) or domain.startswith("users.noreply."):
        return f"{address} takes no mail"
    return ""
