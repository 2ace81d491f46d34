"""Trainings on disk: what was interrupted goes on where it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write it so that the file is the old or the new one, whenever the power goes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    with beside.open("wb") as out:
        torch.save(state, out)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)


def load_checkpoint(file: Path) -> dict[str, Any] | None:
    """What was written; None if nothing was, or it is damaged: then the training begins anew.

    Nothing in the file is run.
    """
    try:
        found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # noqa: BLE001 torch raises a dozen kinds for a damaged file
        file.unlink()
        return None
    return found
