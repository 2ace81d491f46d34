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

    def at(self, device_ns: int) -> int:
        """A moment of the camera's clock on the box's."""
        return self.host_ns + device_ns - self.device_ns


class FrameTimes:
    """Tells when frames began: by the camera's clock, latched beside the box's, where it can.

    The GenTL standard leaves open whether a frame's stamp is of its first line or
    of its last. One that arrives sooner after its stamp than it takes to scan was
    stamped at its end; then all are. What was learned of stamps holds for good.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._rate_hz: float | None = None
        self._started_ns = 0
        self._latch: _Latch | None = None
        self._stamped_at_end = False
        self._useless = False

    def expect(self, line_rate_hz: float | None) -> None:
        """A camera was configured; its lines a second, if nothing but its own clock starts them."""
        self._rate_hz = line_rate_hz
        self._latch = None

    def started(self) -> None:
        """The camera is about to be started, and no frame of before will come: so much is sure."""
        self._started_ns = self._clock_ns()

    def latch(self, nodes: Nodes) -> bool:
        """Read both clocks; costs the camera a few register accesses.

        False: nobody will see when a frame began. The camera's clock cannot be read, or is
        none that its frames are stamped by; or an encoder starts the lines, so that a stamp
        at a frame's end says nothing of its beginning.
        """
        self._latch = None
        if self._rate_hz is None or self._useless:
            return False
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
                continue
            self._latch = _Latch(before_ns, found)
            return True
        return False

    def began_ns(self, captured_ns: int, device_ns: int | None, lines: int) -> int:
        """A moment before which the first line of a frame was not exposed.

        Where nobody sees when it began, that is the camera's start.

        Parameters
        ----------
        captured_ns
            When its last line had arrived.
        device_ns
            Its stamp; None if it has none.
        lines
            That it has.
        """
        if self._latch is None or self._rate_hz is None:
            return self._started_ns
        scan_ns = round(lines * 1e9 / self._rate_hz)
        stamped_ns = None if device_ns is None else self._latch.at(device_ns)
        if stamped_ns is None or not -_NEAR_NS < captured_ns - stamped_ns < _OTHER_CLOCK_NS:
            self._useless = True
            return self._started_ns
        # A tenth for the rounding of rates and for clocks that drift.
        self._stamped_at_end = self._stamped_at_end or captured_ns - stamped_ns < 0.9 * scan_ns
        began_ns = stamped_ns - scan_ns if self._stamped_at_end else stamped_ns
        return max(self._started_ns, min(began_ns, captured_ns - scan_ns))
