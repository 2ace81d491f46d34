"""What people call good and defective: in the names of folders, and in labels."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFECT", "GOOD", "MASK_FOLDERS", "NOT_GOOD", "kind_of", "names_defect", "names_good"]

# The kind of an image without a defect.
GOOD: Final = "good"
# Where its makers say only that something is wrong.
DEFECT: Final = "defect"
MASK_FOLDERS: Final = ("ground_truth", "masks", "mask", "labels")

_GOOD_NAMES = frozenset({"good", "normal", "ok", "pass", "passed"})
_GOOD_WORDS = _GOOD_NAMES | {"", "0", "false", "no"}
_DEFECT_NAMES = frozenset(
    {
        *("abnormal", "anomalies", "anomalous", "anomaly", "bad", "defect", "defective", "defects"),
        *("fail", "failed", "ko", "ng", "nok", "not good", "not_good", "reject", "rejected"),
    }
)
_DEFECT_WORDS = _DEFECT_NAMES | {"1", "true", "yes"}
# Folders that hold what is not good, in datasets and in people's archives.
NOT_GOOD: Final = _DEFECT_NAMES | {"test", *MASK_FOLDERS}


def names_good(name: str) -> bool:
    """Whether the name of a folder, or of what is drawn, says that it is good."""
    return name.strip().lower() in _GOOD_NAMES


def names_defect(name: str) -> bool:
    """Whether the name of a folder says that all in it is defective."""
    return name.strip().lower() in _DEFECT_NAMES


def kind_of(word: str) -> str:
    """A label as people write it: 0, ok and normal are good, 1 and anomaly some defect."""
    plain = word.strip()
    if plain.lower() in _GOOD_WORDS:
        return GOOD
    return DEFECT if plain.lower() in _DEFECT_WORDS else plain
