"""A GenICam camera's frames: checked, counted, and written where they will be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from kenpin.camera.capture import Capture, LineCounts
from kenpin.camera.flat_field import FlatField, FlatFieldError, read_flat_field
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.genicam.device import Buffer, GenicamCamera, GenicamDriver
from kenpin.camera.genicam.features import FeatureError, FeatureRefusedError, configure
from kenpin.camera.genicam.frame_ids import FrameIds
from kenpin.camera.genicam.frame_times import FrameTimes
from kenpin.camera.genicam.line_counts import straightened
from kenpin.camera.genicam.pixel_formats import (
    PixelFormat,
    PixelFormatError,
    pixel_format,
    pixel_format_named,
    to_8_bit,
)
from kenpin.camera.genicam.steps import measured, name_of, steps_for, trigger_choice
from kenpin.camera.loss import Loss
from kenpin.camera.source import CameraError, Place
from kenpin.config.camera import GenicamSpec

__all__ = ["GenicamSource"]

# The wait itself would hold the interpreter's lock; a nap of this length does not.
_NAP_S = 0.0005
# How long a silent camera is left alone before it is asked whether it is still there.
_QUIET_NS = 250_000_000
_STALL_FRAMES = 4
_SHORTEST_STALL_S = 0.5
# So many frames in a row that are not what was asked for: the camera was changed.
_WRONG_IN_A_ROW = 10
_TRIGGER_S = 0.5


class _Encoder(TypedDict):
    """Fields of `Capture`."""

    encoder: int | None
    encoder_lines: LineCounts | None


@dataclass(frozen=True)
class _Shape:
    """What every frame must be, as the camera said when it was configured."""

    width: int
    height: int
    format: PixelFormat


class GenicamSource:
    """A `LiveSource`. Everything happens on the thread that calls; it must always be the same.

    Raises
    ------
    CameraError
        If a GenTL producer is missing or cannot be loaded.
    """

    exhausted = False

    def __init__(
        self, spec: GenicamSpec, *, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._spec = spec
        self._clock_ns = clock_ns
        self._camera: GenicamCamera | None = None
        self._shape: _Shape | None = None
        self._flat: FlatField | None = None
        self._ids = FrameIds()
        self._times = FrameTimes(clock_ns)
        self._index = 0
        self._line = 0
        self._wrong = 0
        self._asked_ns = 0
        self._underruns = 0
        self.free_running = spec.free_running
        self.continuous = spec.continuous
        self.triggered = spec.software_triggered
        self.trigger_s = _TRIGGER_S
        self.lines_per_frame: int | None = None
        self.line_rate_hz: float | None = None
        self.stall_s: float | None = None
        self._driver = GenicamDriver(spec)

    @property
    def shape(self) -> tuple[tuple[int, ...], str, str]:
        """What its frames are, once it is connected: size, type, the camera's pixel format.

        Raises
        ------
        CameraError
            If no camera is connected.
        """
        if self._shape is None:
            raise CameraError("no camera is connected; connect first")
        kind = self._shape.format
        size: tuple[int, ...] = (self._shape.height, self._shape.width)
        narrow = kind.bits > 8 and self._spec.bits == "high"
        dtype = "uint8" if narrow else np.dtype(kind.dtype).name
        return (size if kind.channels == 1 else (*size, kind.channels)), dtype, kind.name

    @property
    def transport(self) -> str:
        """GEV, U3V, CXP, …, as the producer calls it."""
        return self._connected().device.transport

    @property
    def packet_bytes(self) -> int | None:
        """Of a GigE Vision packet; None if the connected camera sends none."""
        nodes = self._connected().nodes
        name = name_of(nodes, "packet_bytes")
        ready = name is not None and nodes.ready(name.feature)
        return int(nodes.read(name.feature)) if name is not None and ready else None

    @property
    def label(self) -> str:
        """Which camera it is, once it is connected."""
        return self._camera.device.label if self._camera else "no camera"

    def connect(self) -> None:
        """Find, open, configure and start the camera.

        Raises
        ------
        CameraError, FeatureError
            If there is none, it cannot be had, or refuses a setting.
        """
        self._let_go()
        camera = self._driver.open()
        self._camera = camera
        try:
            configure(camera.nodes, lambda port: steps_for(self._spec, port), self._spec.tolerance)
            self._shape = self._read_shape(camera)
            self._flat = self._read_flat(self._shape)
        except FeatureRefusedError as refusal:
            raise FeatureError(f"{camera.device.label}: {refusal}") from refusal
        self._read_rate(camera)
        self._times.started()
        camera.start(self._spec.buffers)
        self._ids = FrameIds()
        self._underruns = camera.underruns
        self._wrong = 0
        self._asked_ns = self._clock_ns()

    def fire(self) -> None:
        """The camera's software trigger.

        Where nobody could tell a frame of before from the one that is asked for, the camera
        is stopped and started first.
        """
        camera = self._connected()
        # Before it: whatever began earlier on the camera's clock was not asked for.
        if not self._times.latch(camera.nodes):
            self.flush()
        try:
            for trigger in self._spec.triggers:
                if trigger.source == "Software":
                    for name, value in trigger_choice(camera.nodes, trigger).items():
                        camera.nodes.write(name, value)
            camera.nodes.execute("TriggerSoftware")
        except FeatureRefusedError as refusal:
            raise CameraError(f"{self.label}: no software trigger ({refusal})") from refusal

    def flush(self) -> None:
        """Stop and start: what was asked for and has not come will not come."""
        camera = self._connected()
        camera.stop()
        self._times.started()
        camera.start(self._spec.buffers)
        self._ids = FrameIds()

    def grab_into(self, place: Place, timeout_s: float) -> list[Frame | LostFrame]:
        """See `LiveSource`."""
        camera = self._connected()
        until = time.monotonic() + timeout_s
        while True:
            with camera.frame() as buffer:
                if buffer is not None:
                    self._asked_ns = self._clock_ns()
                    return self._taken(camera, buffer, place)
            self._ask_if_quiet(camera)
            if time.monotonic() >= until:
                return []
            time.sleep(_NAP_S)

    def close(self) -> None:
        """Give the camera back and unload the producers."""
        try:
            self._let_go()
        finally:
            self._driver.close()

    def _connected(self) -> GenicamCamera:
        if self._camera is None:
            raise CameraError("no camera is connected; connect first")
        return self._camera

    def _let_go(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()

    def _read_shape(self, camera: GenicamCamera) -> _Shape:
        nodes = camera.nodes
        name = str(nodes.read("PixelFormat"))
        try:
            known = pixel_format_named(name)
        except PixelFormatError as error:
            raise FeatureError(f"{camera.device.label}: {error}") from error
        shape = _Shape(int(nodes.read("Width")), int(nodes.read("Height")), known)
        if shape.height < 1 or shape.width < 1:
            raise FeatureError(
                f"{camera.device.label}: frames of {shape.height} lines x {shape.width} px; set "
                "`lines_per_frame` and `width_px`"
            )
        self.lines_per_frame = shape.height
        return shape

    def _read_flat(self, shape: _Shape) -> FlatField | None:
        spec = self._spec
        if spec.flat_field is None:
            return None
        try:
            flat = read_flat_field(spec.flat_field, spec.conditions)
        except FlatFieldError as error:
            raise FeatureError(str(error)) from error
        lines = (shape.width,) if shape.format.channels == 1 else (shape.width, 3)
        if flat.gain.shape != lines:
            raise FeatureError(
                f"{spec.flat_field}: calibrated for lines of {flat.gain.shape}, the camera's are "
                f"{lines}; calibrate again"
            )
        return flat

    def _read_rate(self, camera: GenicamCamera) -> None:
        settings = ("resulting_line_rate_hz", "line_rate_hz")
        rates = (measured(camera.nodes, setting, "Hz") for setting in settings)
        rate = next((rate for rate in rates if rate), None)
        self.line_rate_hz = rate if self.free_running else None
        # An encoder's lines come as the web moves, however fast the camera could go.
        paced = not any(trigger.selector == "LineStart" for trigger in self._spec.triggers)
        self._times.expect(rate if paced else None)
        frame_s = (self.lines_per_frame or 0) / rate if rate else 0.0
        if self._spec.trigger_timeout_ms is not None:
            self.trigger_s = self._spec.trigger_timeout_ms / 1000
        else:
            self.trigger_s = _TRIGGER_S + 2 * frame_s
        if not self.free_running:
            self.stall_s = None
        elif self._spec.stall_ms is not None:
            self.stall_s = self._spec.stall_ms / 1000
        else:
            self.stall_s = max(_SHORTEST_STALL_S, _STALL_FRAMES * frame_s)

    def _ask_if_quiet(self, camera: GenicamCamera) -> None:
        now = self._clock_ns()
        if now - self._asked_ns < _QUIET_NS:
            return
        self._asked_ns = now
        trouble = camera.trouble()
        if trouble:
            raise CameraError(f"{self.label}: lost, {trouble}")
        try:
            # From the camera itself: many a driver notices nothing until it is asked.
            camera.nodes.read("Width")
        except FeatureRefusedError as refusal:
            raise CameraError(f"{self.label}: lost, {refusal}") from refusal

    def _taken(
        self, camera: GenicamCamera, buffer: Buffer, place: Place
    ) -> list[Frame | LostFrame]:
        now = self._clock_ns()
        frame_id, missing = self._numbered(buffer)
        found: list[Frame | LostFrame] = []
        if missing:
            found.append(self._lost(now, Loss.CAMERA, self._why_missing(camera, missing), missing))
        unfit = self._unfit(buffer)
        if unfit:
            self._wrong += 1
            if self._wrong >= _WRONG_IN_A_ROW:
                raise CameraError(f"{self.label}: {self._wrong} frames in a row, {unfit}")
            found.append(self._lost(now, Loss.INCOMPLETE, unfit))
            return found
        self._wrong = 0
        capture = Capture(
            first_line=self._line,
            lines_expected=self._shape.height if self._shape else 0,
            frame_id=frame_id,
            device_ns=buffer.device_ns,
            **self._encoder(camera, buffer),
            began_ns=self._times.began_ns(now, buffer.device_ns, self._rows(buffer)),
        )
        found.append(self._copied(buffer, place, now, capture))
        return found

    def _why_missing(self, camera: GenicamCamera, missing: int) -> str:
        # The driver counts those that came and found no buffer: then no cable is to blame.
        counted = camera.underruns
        unbuffered, self._underruns = counted - self._underruns, counted
        missed = f"the camera counts {missing} frames that never came; "
        if unbuffered > 0:
            return missed + f"{unbuffered} of them found no free buffer: raise camera.buffers"
        return missed + "check cable and network"

    def _numbered(self, buffer: Buffer) -> tuple[int | None, int]:
        if buffer.frame_id is None:
            return None, 0
        numbered = self._ids.next(buffer.frame_id)
        if numbered is None:
            raise CameraError(
                f"{self.label}: its frame numbers began anew at {buffer.frame_id}, so it has "
                "restarted itself"
            )
        return numbered

    def _unfit(self, buffer: Buffer) -> str:
        """What is wrong with a frame; empty if it is what was asked for, or its first part."""
        shape = self._shape
        if shape is None:
            raise CameraError("no camera is connected; connect first")
        if not buffer.complete:
            return f"incomplete: {buffer.filled} bytes of {len(buffer.raw)} came; check the network"
        if buffer.pixel_format not in (0, shape.format.code):
            return f"pixel format {_name_of(buffer.pixel_format)}, expected {shape.format.name}"
        if buffer.width not in (0, shape.width):
            return f"{buffer.width} px wide, expected {shape.width}"
        if buffer.height > shape.height:
            return f"{buffer.height} lines, expected {shape.height} at most"
        needed = self._rows(buffer) * (shape.format.line_bytes(shape.width) + buffer.padding)
        filled = buffer.filled or len(buffer.raw)
        if needed > min(filled + buffer.padding, len(buffer.raw)) or not needed:
            return f"{filled} bytes came, {needed or 'some'} are needed for {buffer.height} lines"
        return ""

    def _rows(self, buffer: Buffer) -> int:
        """Lines that came; some cameras announce 0 and send all."""
        shape = self._shape
        if buffer.height or shape is None:
            return buffer.height
        line = shape.format.line_bytes(shape.width) + buffer.padding
        return min(shape.height, buffer.filled // line)

    def _copied(
        self, buffer: Buffer, place: Place, now: int, capture: Capture
    ) -> Frame | LostFrame:
        shape = self._shape
        if shape is None:
            raise CameraError("no camera is connected; connect first")
        rows, kind = self._rows(buffer), shape.format
        size = (rows, shape.width) if kind.channels == 1 else (rows, shape.width, kind.channels)
        narrow = kind.bits > 8 and self._spec.bits == "high"
        pixels = place(size, "uint8" if narrow else kind.dtype)
        if pixels is None:
            detail = "nobody had room for the frame: the inspection is behind"
            return self._lost(now, Loss.OVERRUN, detail, lines=rows)
        if narrow:
            to_8_bit(kind.unpack(buffer.raw, shape.width, rows, buffer.padding), kind.bits, pixels)
        else:
            kind.unpack(buffer.raw, shape.width, rows, buffer.padding, pixels)
        if self._flat is not None:
            self._flat.apply(pixels, pixels)
        frame = Frame(pixels, now, self._index, capture=capture)
        self._index += 1
        self._line += rows
        return frame

    def _lost(
        self, now: int, loss: Loss, detail: str, count: int = 1, lines: int | None = None
    ) -> LostFrame:
        if lines is None and self.lines_per_frame is not None:
            lines = count * self.lines_per_frame
        lost = LostFrame(now, self._index, detail, lines=lines, count=count, loss=loss)
        self._index += count
        self._line += lines or 0
        return lost

    def _encoder(self, camera: GenicamCamera, buffer: Buffer) -> _Encoder:
        """The counts of a frame, as fields of `Capture`: of its first line, and of all."""
        if "EncoderValue" not in self._spec.chunks:
            return _Encoder(encoder=None, encoder_lines=None)
        first = camera.chunk(buffer, "ChunkEncoderValue")
        counts = camera.line_counts(self._rows(buffer))
        return _Encoder(
            encoder=first, encoder_lines=straightened(counts) if counts is not None else None
        )


def _name_of(code: int) -> str:
    try:
        return pixel_format(code).name
    except PixelFormatError:
        return f"0x{code:08X}"
