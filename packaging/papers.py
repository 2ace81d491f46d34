"""Licences as a Debian package tells them: `copyright`, machine-readable, and NOTICE."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence

from wheels import Wheel

__all__ = ["copyright_of", "notice_of"]

_FORMAT = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
# Texts that every Debian has, by SPDX identifier. The Lesser GPL adds to the GPL: both count.
_COMMON = {
    "Apache-2.0": ("Apache-2.0",),
    "LGPL-3.0-or-later": ("LGPL-3", "GPL-3"),
    "MPL-2.0": ("MPL-2.0",),
}
# Whoever has the box may exchange such a library: docs/decisions/0065.
_EXCHANGED = """
 It is delivered unchanged, as Python source, and may be exchanged: put another
 version in the place of its folder below /opt/kenpin/current/lib, and, as root,
 python3 -m compileall --invalidation-mode unchecked-hash FOLDER"""


def copyright_of(holder: str, home: str, wheels: Sequence[Wheel]) -> str:
    """debian/copyright: whose which file is, and under which licence."""
    parts = [
        f"Format: {_FORMAT}\nUpstream-Name: kenpin\nUpstream-Contact: {holder}",
        f"Files: *\nCopyright: 2026 {holder}\nLicense: Apache-2.0",
    ]
    for wheel in wheels:
        folders = sorted(
            {path.split("/")[0] for path in _top(wheel) if not path.endswith((".data", ".txt"))}
        )
        names = "\n ".join(f"{home}/{folder}*" for folder in folders)
        parts.append(
            f"Files: {names}\nCopyright: {wheel.authors}\nLicense: {_short(wheel.licence)}\n"
            f"Comment: {wheel.name} {wheel.version}, as published on pypi.org. Its licence, and\n"
            " those of what it is made of, are in /usr/share/doc/kenpin/NOTICE.gz."
            + (_EXCHANGED if wheel.licence.startswith("LGPL") else "")
        )
    for licence in sorted({"Apache-2.0", *(_short(wheel.licence) for wheel in wheels)}):
        names = _COMMON.get(licence, ())
        texts = " and ".join(f"/usr/share/common-licenses/{name}" for name in names)
        where = (
            f"On Debian systems the full text is in {texts}."
            if texts
            else "The full text is in /usr/share/doc/kenpin/NOTICE.gz."
        )
        parts.append(f"License: {licence}\n {where}")
    return "\n\n".join(parts) + "\n"


def _top(wheel: Wheel) -> list[str]:
    with zipfile.ZipFile(wheel.path) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


def _short(licence: str) -> str:
    """One word, as the format wants it."""
    return re.sub(r"\s+", "-", licence.replace("(", "").replace(")", ""))


def notice_of(wheels: Sequence[Wheel]) -> str:
    """Every licence text that a bundled library brings.

    Raises
    ------
    ValueError
        If a library brings none: then nobody may pass it on.
    """
    parts = ["kenpin is under the Apache License 2.0. It is delivered with these libraries:\n"]
    parts += [f"    {wheel.name} {wheel.version}  {wheel.licence}" for wheel in wheels]
    for wheel in wheels:
        texts = wheel.licence_texts()
        if not texts:
            raise ValueError(f"{wheel.path.name} brings no licence text; nobody may pass it on")
        for name, text in texts.items():
            line = "=" * 79
            parts.append(f"\n{line}\n{wheel.name} {wheel.version}: {name}\n{line}\n\n{text}")
    return "\n".join(parts) + "\n"
