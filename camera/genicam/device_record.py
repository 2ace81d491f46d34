"""What a GenTL producer says of a camera before anybody opens it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DeviceRecord"]


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A camera as a producer lists it."""

    device_id: str
    vendor: str
    model: str
    serial: str
    user_name: str
    transport: str
    access: int

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.vendor} {self.model} (serial {self.serial or '-'})"
