"""Put on PYTHONPATH, it lets torchvision's wheel on PyPI be imported beside the CPU's torch."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("torchvision") is not None:
    sys.path.append(str(Path(__file__).parents[1]))
    from anomalib_models import allow_torchvision

    allow_torchvision()
