"""Names of the files that every bundle has, and of its folder."""

from __future__ import annotations

__all__ = ["MANIFEST", "PROPOSALS", "SIGNATURES", "folder_name", "may_be_of", "product_of"]

# The file that says what a bundle is, and names every other with its hash.
MANIFEST = "manifest.json"
# Beside the manifest; not in the content hash, so that a bundle may be signed later.
SIGNATURES = "signatures.json"
# Beside a store whose bundles must be signed: what waits for a signature.
PROPOSALS = "proposals"


def folder_name(label: str) -> str:
    """`name-hash`, the folder in a store, of a label `name@hash`; such a name stays as it is."""
    return "-".join(label.rsplit("@", 1))


def product_of(label: str) -> str:
    """The recipe's name in a bundle's label, or in its folder's name: what it was made for."""
    return folder_name(label).rpartition("-")[0]


def may_be_of(label: str, product: str) -> bool:
    """Whether what a bundle judged may show a product; where nobody knows which bundle, it may."""
    return not label or product_of(label) == product
