"""OpenVINO and NNCF report their use to their makers; here they do not."""

from __future__ import annotations

import os
import sys

__all__ = ["silence"]


def silence() -> None:
    """Keep OpenVINO's and NNCF's telemetry from starting; call before importing either.

    Both fall back to a stub when the package is missing, and an entry of None
    in `sys.modules` makes it missing. An opt-out file in a home directory
    would not do: a service has none.
    """
    os.environ.setdefault("NNCF_CI", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
