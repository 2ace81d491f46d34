"""How many cores a line's network has; whoever measures a box asks here, too."""

from __future__ import annotations

import os
from collections.abc import Collection

__all__ = ["line_threads"]


def line_threads(threads: int | None = None, cpus: Collection[int] | None = None) -> int:
    """Cores for the network, as `edge-run` started here has them; at least 1.

    By default as many as the inspection may run on, less the one that Python, the camera and
    the network card need. Where `cpus` leaves one of this process's cores to them, none is
    taken off.

    Parameters
    ----------
    threads
        `inspection.threads`; None: by default.
    cpus
        `inspection.cpus`; None: those that this process may run on, by the unit's
        CPUAffinity= or by taskset.
    """
    if threads is not None:
        return threads
    ours = os.sched_getaffinity(0)
    its = ours if cpus is None else set(cpus)
    shared = ours <= its
    return max(1, len(its) - 1 if shared else len(its))
