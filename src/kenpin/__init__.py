"""kenpin: finds defects in line-camera images from good images alone.

Three lines judge an image; `docs/python.md` has more::

    import kenpin

    inspector = kenpin.load("bundles/current")
    verdict = inspector.judge(array)

Names are imported when they are first used, so `import kenpin` costs next to nothing, and
torch is needed by `build` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kenpin.compile.offline import build
    from kenpin.config.errors import ConfigError
    from kenpin.runtime.bundles.manifest import BundleError
    from kenpin.runtime.inspector import Inspector, VerdictWithMap, WebInspector, load
    from kenpin.runtime.judging.verdict import Outcome, Reason, Verdict
    from kenpin.runtime.wire.client import (
        LineClient,
        LineSilentError,
        RefusedError,
        WireOptions,
    )

__all__ = [
    "BundleError",
    "ConfigError",
    "Inspector",
    "LineClient",
    "LineSilentError",
    "Outcome",
    "Reason",
    "RefusedError",
    "Verdict",
    "VerdictWithMap",
    "WebInspector",
    "WireOptions",
    "__version__",
    "build",
    "load",
]

__version__ = "0.1.0"

_HOMES = {
    "BundleError": "kenpin.runtime.bundles.manifest",
    "ConfigError": "kenpin.config.errors",
    "Inspector": "kenpin.runtime.inspector",
    "LineClient": "kenpin.runtime.wire.client",
    "LineSilentError": "kenpin.runtime.wire.client",
    "Outcome": "kenpin.runtime.judging.verdict",
    "Reason": "kenpin.runtime.judging.verdict",
    "RefusedError": "kenpin.runtime.wire.client",
    "Verdict": "kenpin.runtime.judging.verdict",
    "VerdictWithMap": "kenpin.runtime.inspector",
    "WebInspector": "kenpin.runtime.inspector",
    "WireOptions": "kenpin.runtime.wire.client",
    "build": "kenpin.compile.offline",
    "load": "kenpin.runtime.inspector",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'kenpin' has no attribute {name!r}")
    found: object = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
