"""When a frame's exposure began, on the box's clock: by the camera's own clock where it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kenpin.camera.genicam.features import FeatureRefusedError
from kenpin.camera.genicam.nodes import Nodes

__all__ = ["FrameTimes"]

# What latches the camera's clock, where it is read, and ticks a second (None: it counts ns).
_LATCHES = (
    ("TimestampLatch", "TimestampLatchValue", None),  # SFNC 2.x
    ("GevTimestampControlLatch", "GevTimestampValue", "GevTimestampTickFrequency"),  # SFNC 1.x
)
# A stamp so far from its frame's arrival is of another clock than the one that was latched.
_OTHER_CLOCK_NS = 60_000_000_000
_NEAR_NS = 5_000_000


@dataclass(frozen=True)
class _Latch:
    """One moment on both clocks; the box's is never the later one."""

    host_ns: int
    device_ns: int


class FrameTimes:
    """Tells when frames began, counted from one latch of the camera's clock to the next.

    The GenTL standard leaves open whether a frame's stamp is of its first line or
    of its last. One that arrives sooner after its stamp than it takes to scan was
    stamped at its end; then all are.

    line_rate_hz  lines a second, if nothing but the camera's own clock starts them
    """

    def __init__(self, clock_ns: Callable[[], int], line_rate_hz: float | None) -> None:
        self._clock_ns = clock_ns
        self._rate_hz = line_rate_hz
        self._latch: _Latch | None = None
        self._stamped_at_end = False

    def latch(self, nodes: Nodes) -> None:
        """Read both clocks; costs the camera a few register accesses."""
        self._latch = None
        for command, value, ticks in _LATCHES:
            if not (nodes.has(command) and nodes.has(value)):
                continue
            before_ns = self._clock_ns()
            try:
                nodes.execute(command)
                found = int(nodes.read(value))
                if ticks is not None:
                    found = found * 1_000_000_000 // int(nodes.read(ticks))
            except (FeatureRefusedError, ZeroDivisionError):
                continue  # then by the time of arrival
            self._latch = _Latch(before_ns, found)
            return

    def began_ns(self, captured_ns: int, device_ns: int | None, lines: int) -> int:
        """When the first line of a frame was begun, at the latest.

        Parameters
        ----------
        captured_ns
            When its last line had arrived.
        device_ns
            Its stamp; None if it has none.
        lines
            That it has.
        """
        scan_ns = round(lines * 1e9 / self._rate_hz) if self._rate_hz else 0
        by_arrival = captured_ns - scan_ns
        if self._latch is None or device_ns is None:
            return by_arrival
        stamped_ns = self._latch.host_ns + device_ns - self._latch.device_ns
        lag_ns = captured_ns - stamped_ns
        if not -_NEAR_NS < lag_ns < _OTHER_CLOCK_NS:
            return by_arrival
        # A tenth for the rounding of rates and for clocks that drift.
        self._stamped_at_end = self._stamped_at_end or lag_ns < 0.9 * scan_ns
        began = stamped_ns - scan_ns if self._stamped_at_end else stamped_ns
        return min(began, by_arrival)
