"""Names of the files that every bundle has."""

from __future__ import annotations

__all__ = ["MANIFEST", "SIGNATURES"]

MANIFEST = "manifest.json"
# Beside the manifest; not in the content hash, so that a bundle may be signed later.
SIGNATURES = "signatures.json"
