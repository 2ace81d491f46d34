"""A camera's settings: written in a safe order, read back, every difference named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kenpin.camera.source import CameraError
from kenpin.config.camera import FeatureValue, GenicamSpec, TriggerSpec

__all__ = ["FeatureError", "FeaturePort", "FeatureRefusedError", "Step", "configure", "steps_for"]


class FeatureError(CameraError):
    """The camera will not be as its settings say: a person must look at it."""


class FeatureRefusedError(Exception):
    """The camera did not take a value, or has no such feature; the text says why."""


class FeaturePort(Protocol):
    """A camera's features by name, as `nodes.py` offers them."""

    def has(self, name: str) -> bool:
        """Whether the camera has it at all."""
        ...

    def read(self, name: str) -> FeatureValue:
        """Its value now, from the camera itself."""
        ...

    def write(self, name: str, value: FeatureValue) -> None:
        """Raises FeatureRefusedError if the camera does not take it."""
        ...

    def lowest(self, name: str) -> FeatureValue:
        """The smallest value that it may have just now."""
        ...

    def limits(self, name: str) -> str:
        """What may be written, for people: range and step, or the entries."""
        ...


@dataclass(frozen=True)
class Step:
    """One feature to write.

    selectors  written before it, and again before it is read back
    lowest     write the smallest value there is, to make room for a later step;
               not read back
    optional   passed over if the camera has no such feature
    """

    name: str
    value: FeatureValue
    selectors: dict[str, FeatureValue] = field(default_factory=dict)
    lowest: bool = False
    optional: bool = False


def steps_for(spec: GenicamSpec) -> list[Step]:
    """All that a camera's settings ask for, in an order that no camera should mind."""
    return [step for group in _groups(spec) for step in group]


def _groups(spec: GenicamSpec) -> Iterator[Sequence[Step]]:
    yield _given(("PixelFormat", spec.pixel_format))
    # The largest width depends on the offset and the other way round.
    if spec.width_px is not None or spec.offset_px is not None:
        yield [Step("OffsetX", 0, lowest=True, optional=True)]
    yield _given(("Width", spec.width_px), ("OffsetX", spec.offset_px))
    yield _given(("Height", spec.lines_per_frame))
    # A long exposure forbids a high line rate, and a high line rate a long exposure.
    if spec.exposure_us is not None:
        yield [Step("ExposureTime", 0, lowest=True)]
    if spec.line_rate_hz is not None:
        yield [Step("AcquisitionLineRateEnable", True, optional=True)]
    yield _given(("AcquisitionLineRate", spec.line_rate_hz), ("ExposureTime", spec.exposure_us))
    yield _given(("Gain", spec.gain), ("BlackLevel", spec.black_level))
    yield _encoder(spec)
    yield _triggers(spec)
    yield _given(("GevSCPSPacketSize", spec.packet_bytes))
    if spec.chunks:
        yield [Step("ChunkModeActive", True)]
        yield [Step("ChunkEnable", True, {"ChunkSelector": name}) for name in spec.chunks]
    yield [Step(f.name, f.value, dict(f.selectors)) for f in spec.features]


def _given(*pairs: tuple[str, FeatureValue | None]) -> list[Step]:
    return [Step(name, value) for name, value in pairs if value is not None]


def _encoder(spec: GenicamSpec) -> list[Step]:
    encoder = spec.encoder
    if encoder is None:
        return []
    chosen: dict[str, FeatureValue] = {"EncoderSelector": encoder.selector}
    wanted = {
        "EncoderSourceA": encoder.source_a,
        "EncoderSourceB": encoder.source_b,
        "EncoderMode": encoder.mode,
        "EncoderDivider": encoder.divider,
        "EncoderOutputMode": encoder.output_mode,
    }
    return [Step(name, value, chosen) for name, value in wanted.items() if value is not None]


# What a camera may still have switched on from its last job.
_TRIGGERS = ("FrameStart", "LineStart", "FrameBurstStart")


def _triggers(spec: GenicamSpec) -> list[Step]:
    wanted = {trigger.selector: trigger for trigger in spec.triggers}
    off = [
        Step("TriggerMode", "Off", {"TriggerSelector": name}, optional=True)
        for name in _TRIGGERS
        if name not in wanted
    ]
    # Switched on last: a trigger without its source may fire at once.
    return off + [step for trigger in wanted.values() for step in _trigger(trigger)]


def _trigger(trigger: TriggerSpec) -> list[Step]:
    chosen: dict[str, FeatureValue] = {"TriggerSelector": trigger.selector}
    steps = [Step("TriggerSource", trigger.source, chosen)]
    if trigger.activation is not None:
        steps.append(Step("TriggerActivation", trigger.activation, chosen))
    if trigger.delay_us is not None:
        steps.append(Step("TriggerDelay", trigger.delay_us, chosen))
    return [*steps, Step("TriggerMode", "On", chosen)]


def configure(port: FeaturePort, steps: Sequence[Step], tolerance: float) -> None:
    """Write all steps, then read every one back.

    Only while the camera is stopped: running, it refuses what changes its frames.

    Parameters
    ----------
    tolerance
        How far a float may be rounded by the camera, as a share of what was
        asked. Everything else must be exact.

    Raises
    ------
    FeatureError
        Naming every feature that was refused or is not as asked, with what was
        asked, what the camera says, and what it would take.
    """
    faults: list[str] = []
    written: list[Step] = []
    for step in steps:
        try:
            if not port.has(step.name):
                if step.optional:
                    continue
                raise FeatureRefusedError("the camera has no feature of this name")
            for name, value in step.selectors.items():
                port.write(name, value)
            if step.lowest:
                port.write(step.name, port.lowest(step.name))
                continue
            port.write(step.name, step.value)
            written.append(step)
        except FeatureRefusedError as refusal:
            if not (step.optional and step.selectors):
                faults.append(f"{_label(step)} = {step.value}: refused, {refusal}")
    # Only now: a later step may have moved an earlier one.
    for step in written:
        fault = _difference(port, step, tolerance)
        if fault:
            faults.append(fault)
    if faults:
        raise FeatureError(
            "the camera is not as its settings ask: " + "; ".join(faults) + "; correct the "
            "settings, or the camera"
        )


def _difference(port: FeaturePort, step: Step, tolerance: float) -> str:
    try:
        for name, value in step.selectors.items():
            port.write(name, value)
        found = port.read(step.name)
    except FeatureRefusedError as refusal:
        return f"{_label(step)} cannot be read back: {refusal}"
    if _same(step.value, found, tolerance):
        return ""
    allowed = port.limits(step.name)
    return f"{_label(step)}: asked for {step.value}, the camera says {found} ({allowed})"


def _same(asked: FeatureValue, found: FeatureValue, tolerance: float) -> bool:
    numbers = isinstance(asked, int | float) and isinstance(found, float)
    if numbers and not isinstance(asked, bool):
        return abs(float(found) - float(asked)) <= tolerance * abs(float(asked))
    if isinstance(asked, str) or isinstance(found, str):
        return str(asked) == str(found)
    return asked == found


def _label(step: Step) -> str:
    chosen = ", ".join(str(value) for value in step.selectors.values())
    return f"{step.name}[{chosen}]" if chosen else step.name
