"""Names of the files that every bundle has."""

from __future__ import annotations

__all__ = ["MANIFEST", "PROPOSALS", "SIGNATURES"]

MANIFEST = "manifest.json"
# Beside the manifest; not in the content hash, so that a bundle may be signed later.
SIGNATURES = "signatures.json"
# Beside a store whose bundles must be signed: what waits for a signature.
PROPOSALS = "proposals"
