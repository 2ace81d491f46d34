"""Harvesters and GenTL, wrapped: the only file that knows what they do wrong.

Harvesters 1.4.3 finds the camera, opens it and has its features. Frames are
taken from GenTL's own event queue, because Harvesters' `fetch` drops incomplete
frames unseen, may never return, and keeps the buffers of frames that it cannot
decode. docs/camera.md lists its traps and what is done about each.

Use all of it from one thread, and once in the life of a process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from genicam import genapi, gentl
from harvesters.core import Harvester, ParameterKey, ParameterSet
from numpy.typing import NDArray

from kenpin.camera.genicam.device_record import DeviceRecord
from kenpin.camera.genicam.nodes import Nodes
from kenpin.camera.source import CameraError
from kenpin.config.camera import GenicamSpec
from kenpin.config.text import shorten

__all__ = ["Buffer", "GenicamCamera", "GenicamDriver", "producer_files"]

_ERRORS = (gentl.GenericException, genapi.GenericException)
# In SFNC's words "index for vector representation of one chunk value per line".
_LINE_OF_CHUNK = "ChunkScanLineSelector"
_FREE = 1  # DEVICE_ACCESS_STATUS_READWRITE
_OURS = 5  # DEVICE_ACCESS_STATUS_OPEN_READWRITE
_BUSY = {3: "somebody else has it", 4: "it is in use", 2: "it can only be read"}


@dataclass(frozen=True)
class Buffer:
    """What the camera says about a frame whose pixels are in `raw`, until `frame` is left.

    raw            the whole buffer; its memory is used again right after
    height         lines that came, of `lines_expected`
    padding        bytes at the end of each line that are no pixels
    filled         bytes that came
    """

    raw: bytes
    frame_id: int | None
    device_ns: int | None
    pixel_format: int
    width: int
    height: int
    padding: int
    filled: int
    complete: bool
    handle: Any


def producer_files(spec: GenicamSpec) -> list[Path]:
    """The GenTL producers to load.

    Raises
    ------
    CameraError
        If there is none, or one of them does not exist.
    """
    files = list(spec.producers)
    if not files:
        folders = os.environ.get("GENICAM_GENTL64_PATH", "")
        files = [
            file
            for folder in folders.split(os.pathsep)
            if folder
            for file in sorted(Path(folder).glob("*.cti"))
        ]
        if not files:
            raise CameraError(
                "no GenTL producer: `producers` is empty and the folders of GENICAM_GENTL64_PATH "
                f"({folders or 'not set'}) hold no .cti file; install the camera vendor's, or "
                "name its file"
            )
    for file in files:
        if not file.is_file():
            raise CameraError(f"{file}: no such GenTL producer; correct `producers`")
    return files


class GenicamDriver:
    """The producers, and the cameras that they list."""

    def __init__(self, spec: GenicamSpec) -> None:
        self._spec = spec
        self._camera: GenicamCamera | None = None
        timeout = ParameterSet(
            {ParameterKey.TIMEOUT_PERIOD_ON_MODULE_ENUMERATION: spec.update_timeout_ms}
        )
        self._harvester = Harvester(config=timeout)
        for file in producer_files(spec):
            with _explained(f"{file}: the GenTL producer cannot be loaded"):
                self._harvester.add_file(str(file), check_existence=True, check_validity=True)

    def devices(self) -> list[DeviceRecord]:
        """Ask the producers anew.

        Raises
        ------
        RuntimeError
            While a camera is open: Harvesters would destroy it.
        """
        if self._camera is not None and self._camera.is_open:
            raise RuntimeError("cameras are looked for while one is open; close it first")
        with _explained("the GenTL producers do not list their cameras"):
            self._harvester.update()
            return [_record(info) for info in self._harvester.device_info_list]

    def open(self) -> GenicamCamera:
        """The camera that the settings mean.

        Raises
        ------
        CameraError
            If there is none, or more than one, or somebody else has it.
        """
        devices = self.devices()
        fitting = [k for k, device in enumerate(devices) if _fits(device, self._spec)]
        listed = ", ".join(device.label for device in devices) or "none at all"
        if not fitting:
            raise CameraError(
                f"no camera with {_wanted(self._spec)}; the producers list {listed}: check cable, "
                "power and the camera's address"
            )
        if len(fitting) > 1:
            both = ", ".join(f"{devices[k].label} with id {devices[k].device_id}" for k in fitting)
            raise CameraError(
                f"{len(fitting)} cameras fit {_wanted(self._spec)}: {both}; tell them apart by "
                "`serial`, `user_name` or `device_id`"
            )
        device = devices[fitting[0]]
        if device.access in _BUSY:
            raise CameraError(
                f"{device.label}: {_BUSY[device.access]}; close the other program, or wait until "
                "the camera's heartbeat has expired"
            )
        config = ParameterSet({ParameterKey.ENABLE_AUTO_CHUNK_DATA_UPDATE: False})
        with _explained(f"{device.label} cannot be opened"), _ctrl_c_kept():
            acquirer = self._harvester.create(fitting[0], config=config)
        self._camera = GenicamCamera(acquirer, device)
        return self._camera

    def close(self) -> None:
        """Unload the producers, for good: Harvesters cannot do it twice in a process."""
        with suppress(*_ERRORS):
            self._harvester.reset()


class GenicamCamera:
    """An open camera. `close` gives it back, also after it was lost."""

    def __init__(self, acquirer: Any, device: DeviceRecord) -> None:
        self._acquirer = acquirer
        self.device = device
        self.nodes = Nodes(acquirer.remote_device.node_map)
        self.is_open = True
        self._monitor: Any = None
        self._error_event = self._watch_errors()

    def start(self, buffers: int) -> None:
        """Announce the buffers and start. Settings that change a frame are locked from now on.

        Raises
        ------
        CameraError
            If the camera names a frame of no size, or refuses to start.
        """
        size = self._payload_bytes()
        if size <= 0:
            raise CameraError(
                f"{self.device.label}: PayloadSize is {size}, so frames have no size; set "
                "`lines_per_frame`, in the camera or in the frame grabber"
            )
        with _explained(f"{self.device.label} does not start"):
            self._acquirer.num_buffers = max(buffers, self._acquirer.min_num_buffers)
            self._acquirer.start()
        monitors = list(self._acquirer._new_buffer_event_monitor_dict.values())
        if len(monitors) != 1:
            raise CameraError(
                f"{self.device.label} has {len(monitors)} data streams, expected one; choose one "
                "in the camera"
            )
        self._monitor = monitors[0]

    def stop(self) -> None:
        """Stop, and take the buffers back; also when the camera no longer answers."""
        self._monitor = None
        try:
            self._acquirer.stop()
        except _ERRORS:
            # Harvesters stops at the first error of a lost camera, before the stream
            # itself was stopped; then nothing could ever be given back.
            for stream in self._acquirer.data_streams:
                with suppress(*_ERRORS):
                    stream.stop_acquisition(gentl.ACQ_STOP_FLAGS_LIST.ACQ_STOP_FLAGS_KILL)
            self._acquirer._is_acquiring = False

    def close(self) -> None:
        """Give the camera back.

        Raises
        ------
        CameraError
            If even that fails: only the end of the process will release it.
        """
        self.stop()
        with _explained(f"{self.device.label} cannot be given back"):
            self._acquirer.destroy()
        self.is_open = False

    @contextmanager
    def frame(self) -> Iterator[Buffer | None]:
        """The next frame that has come, or None; waits for nothing.

        Whatever happens inside the `with`, the buffer goes back to the camera.

        Raises
        ------
        CameraError
            If the camera is lost.
        """
        try:
            # 0 ms: the binding waits with the interpreter's lock held.
            self._monitor.update_event_data(0)
        except gentl.TimeoutException:
            yield None
            return
        except _ERRORS as error:
            raise CameraError(f"{self.device.label}: lost ({_text(error)})") from error
        handle = self._monitor.buffer
        try:
            yield _described(handle)
        finally:
            # Queueing may clear the memory: nobody may look at it after this.
            with suppress(gentl.InvalidHandleException):
                handle.parent.queue_buffer(handle)

    def chunk(self, buffer: Buffer, name: str) -> int:
        """A whole number that the camera appended to a frame; only inside `frame`.

        Raises
        ------
        CameraError
            If the frame does not hold it.
        """
        with _explained(f"{self.device.label}: {name} is not in the frame"):
            self._acquirer._update_chunk_data(buffer=buffer.handle, is_manual=True)
            return int(self._acquirer.remote_device.node_map.get_node(name).value)

    def line_counts(self, rows: int) -> NDArray[np.int64] | None:
        """(rows,) the encoder's count at each line of the frame whose chunk was just read.

        None if the camera has one count a frame. 3 to 5 us a line were seen.

        Raises
        ------
        CameraError
            If the frame does not hold them.
        """
        nodes = self._acquirer.remote_device.node_map
        if not nodes.has_node(_LINE_OF_CHUNK):
            return None
        with _explained(f"{self.device.label}: the counts of its lines are not in the frame"):
            line, count = nodes.get_node(_LINE_OF_CHUNK), nodes.get_node("ChunkEncoderValue")
            # It may choose lines of other values only; this one would look as if it stood still.
            if count.node.name not in {node.node.name for node in line.node.selected_features}:
                return None
            found = np.empty(rows, np.int64)
            for row in range(rows):
                line.value = row
                found[row] = count.value
            line.value = 0
        return found

    def trouble(self) -> str:
        """What the camera or its driver reports as wrong; empty if nothing."""
        if self._error_event is not None:
            try:
                self._error_event.update_event_data(0)
            except gentl.TimeoutException:
                pass
            except _ERRORS as error:
                return _text(error)
            else:
                return "the driver reported an error"
        try:
            status = int(self._acquirer.device.module.access_status)
        except _ERRORS as error:
            return f"its driver does not answer ({_text(error)})"
        if status not in (_FREE, _OURS):
            return f"its driver says that it cannot be reached (access status {status})"
        return ""

    @property
    def underruns(self) -> int:
        """Frames that found no buffer; 0 if the producer does not count them."""
        with suppress(*_ERRORS):
            return int(self._acquirer.data_streams[0].num_underrun)
        return 0

    def _payload_bytes(self) -> int:
        with _explained(f"{self.device.label} does not name its frame's size"):
            stream = self._acquirer.data_streams[0]
            if stream.defines_payload_size():
                return int(stream.payload_size)
        return int(self.nodes.read("PayloadSize"))

    def _watch_errors(self) -> Any:
        try:
            token = self._acquirer.device.register_event(gentl.EVENT_TYPE_LIST.EVENT_ERROR)
            return gentl.EventManagerError(token)
        except _ERRORS:
            return None  # many producers have none: silence is then noticed by the clock


def _described(handle: Any) -> Buffer:
    expected = _said(lambda: handle.height, 0)
    delivered = _said(lambda: handle.delivered_image_height, expected)
    # Where the time is not given in nanoseconds its unit is the producer's secret.
    return Buffer(
        raw=handle.raw_buffer,
        frame_id=_said(lambda: handle.frame_id, None),
        device_ns=_said(lambda: handle.timestamp_ns, None) or None,
        pixel_format=_said(lambda: handle.pixel_format, 0),
        width=_said(lambda: handle.width, 0),
        height=delivered,
        padding=_said(lambda: handle.padding_x, 0),
        filled=_said(lambda: handle.size_filled, 0),
        complete=_said(handle.is_complete, True),
        handle=handle,
    )


def _said(ask: Callable[[], Any], default: Any) -> Any:
    """A producer may leave out any of these; then it is not known."""
    try:
        return ask()
    except _ERRORS:
        return default


@contextmanager
def _ctrl_c_kept() -> Iterator[None]:
    """Harvesters takes Ctrl-C for itself when it opens a camera in the main thread."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (*_ERRORS, ValueError, OSError) as error:
        raise CameraError(f"{what} ({_text(error)})") from error


# Of a driver's own words in a message.
_MOST_CHARS = 200


def _text(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shorten(text, _MOST_CHARS)}" if text else type(error).__name__


def _record(info: Any) -> DeviceRecord:
    return DeviceRecord(
        device_id=str(_said(lambda: info.id_, "")),
        vendor=str(_said(lambda: info.vendor, "")),
        model=str(_said(lambda: info.model, "")),
        serial=str(_said(lambda: info.serial_number, "")),
        user_name=str(_said(lambda: info.user_defined_name, "")),
        transport=str(_said(lambda: info.tl_type, "")),
        access=int(_said(lambda: info.access_status, 0)),
    )


def _fits(device: DeviceRecord, spec: GenicamSpec) -> bool:
    pairs: Sequence[tuple[str | None, str]] = (
        (spec.serial, device.serial),
        (spec.user_name, device.user_name),
        (spec.device_id, device.device_id),
        (spec.model, device.model),
    )
    return all(wanted is None or wanted == found for wanted, found in pairs)


def _wanted(spec: GenicamSpec) -> str:
    names = ("serial", "user_name", "device_id", "model")
    chosen = [f"{name} {getattr(spec, name)}" for name in names if getattr(spec, name) is not None]
    return ", ".join(chosen) or "any name"
