"""A camera's settings as features to write, by the names that this camera has for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kenpin.camera.genicam.features import FeaturePort, FeatureStep
from kenpin.camera.genicam.names import AUTOMATICS, NAMES, Name, UnitError, convert, nearest
from kenpin.camera.genicam.pixel_formats import names_of
from kenpin.config.camera import CameraTriggerSpec, FeatureValue, GenicamSpec

__all__ = ["measured", "name_of", "steps_for", "trigger_choice"]


@dataclass(frozen=True)
class _Setting:
    """A value to be written under one of a setting's names; `unit` is the value's."""

    setting: str
    value: float | int | str
    unit: str = ""


def name_of(port: FeaturePort, setting: str) -> Name | None:
    """What this camera calls a setting; None if it has none of the names.

    One that has a value just now goes before one that has not.
    """
    had = [name for name in NAMES[setting] if port.has(name.feature)]
    ready = [name for name in had if port.ready(name.feature)]
    return next(iter([*ready, *had]), None)


def measured(port: FeaturePort, setting: str, unit: str) -> float | None:
    """A number of the camera's in the unit that is wanted; None if it has none."""
    name = name_of(port, setting)
    if name is None or not port.ready(name.feature):
        return None
    found = float(port.read(name.feature))
    if not found:
        return None
    stated = port.unit(name.feature)
    try:
        # The same sum undoes itself: a factor of one, or one over a period.
        factor = convert(1.0, unit, stated, name.unit)
        turned = convert(2.0, unit, stated, name.unit) < factor
    except UnitError:
        return None
    return factor / found if turned else found / factor


def trigger_choice(port: FeaturePort, trigger: CameraTriggerSpec) -> dict[str, FeatureValue]:
    """How a trigger is chosen before its source and mode are written.

    A camera with one trigger may have no selector for it; then that one is the
    frame's.
    """
    if trigger.selector == "FrameStart" and not port.has("TriggerSelector"):
        return {}
    return {"TriggerSelector": trigger.selector}


def steps_for(spec: GenicamSpec, port: FeaturePort) -> list[FeatureStep]:
    """All that a camera's settings ask for, in an order that few cameras should mind.

    What `features` names is written last and as the settings say, instead of
    what would be written there otherwise.
    """
    own = [FeatureStep(f.name, f.value, dict(f.selectors)) for f in spec.features]
    named = {step.label for step in own}
    steps = [step for group in _groups(spec, port) for step in group]
    return [step for step in steps if step.label not in named] + own


def _groups(spec: GenicamSpec, port: FeaturePort) -> Iterator[Sequence[FeatureStep]]:
    # A camera may still be set to stop after one frame, from its last job.
    yield [FeatureStep("AcquisitionMode", "Continuous", optional=True)]
    if spec.pixel_format is not None:
        yield [FeatureStep("PixelFormat", _offered_format(port, spec.pixel_format))]
    # The largest width depends on the offset and the other way round.
    if spec.width_px is not None or spec.offset_px is not None:
        yield [FeatureStep("OffsetX", 0, lowest=True, optional=True)]
    yield _given(("Width", spec.width_px), ("OffsetX", spec.offset_px))
    yield _given(("Height", spec.lines_per_frame))
    yield _rates(spec, port)
    for setting, value in (("gain", spec.gain), ("black_level", spec.black_level)):
        if value is not None:
            yield [*_manual(port, setting), _named(port, _Setting(setting, value))]
    yield _encoder(spec, port)
    yield _triggers(spec, port)
    if spec.packet_bytes is not None:
        yield [_named(port, _Setting("packet_bytes", spec.packet_bytes))]
    if spec.chunks:
        yield [FeatureStep("ChunkModeActive", True)]
        yield [FeatureStep("ChunkEnable", True, {"ChunkSelector": name}) for name in spec.chunks]


def _rates(spec: GenicamSpec, port: FeaturePort) -> list[FeatureStep]:
    """A long exposure forbids a high line rate, and a high line rate a long exposure."""
    steps: list[FeatureStep] = []
    exposure = rate = None
    if spec.exposure_us is not None:
        steps += _manual(port, "exposure_us")
        exposure = _named(port, _Setting("exposure_us", spec.exposure_us, "us"))
        if not exposure.unable:
            steps.append(FeatureStep(exposure.name, 0, lowest=True))
    if spec.line_rate_hz is not None:
        steps.append(FeatureStep("AcquisitionLineRateEnable", True, optional=True))
        rate = _named(port, _Setting("line_rate_hz", spec.line_rate_hz, "Hz"))
    return steps + [step for step in (rate, exposure) if step is not None]


def _manual(port: FeaturePort, setting: str) -> list[FeatureStep]:
    """What would move a setting by itself, switched off where the camera can."""
    return [
        FeatureStep(name, off, optional=True)
        for name, off in AUTOMATICS[setting]
        if port.ready(name) and off in port.offers(name)
    ]


def _named(
    port: FeaturePort, wanted: _Setting, selectors: dict[str, FeatureValue] | None = None
) -> FeatureStep:
    """A setting as this camera calls it, in this camera's unit."""
    chosen = dict(selectors or {})
    name = name_of(port, wanted.setting)
    if name is None:
        names = [name.feature for name in NAMES[wanted.setting]]
        return FeatureStep(names[0], wanted.value, chosen, unable=_none_of(port, names))
    chosen |= name.selectors
    if isinstance(wanted.value, str):
        return FeatureStep(name.feature, wanted.value, chosen)
    try:
        unit = port.unit(name.feature)
        value = convert(wanted.value, wanted.unit, unit, name.unit)
    except UnitError as error:
        return FeatureStep(
            name.feature, wanted.value, chosen, unable=f"{error}; write it in `features`"
        )
    return FeatureStep(name.feature, value, chosen)


# Names in a message, of those that come near to what the camera lacks.
_MOST_HINTS = 6


def _none_of(port: FeaturePort, names: list[str]) -> str:
    known = list(port.names())
    close = dict.fromkeys(other for name in names for other in nearest(name, known, 3))
    hint = f"; the nearest that it has: {', '.join(list(close)[:_MOST_HINTS])}" if close else ""
    return f"the camera has none of {', '.join(names)}{hint}"


def _offered_format(port: FeaturePort, wanted: str) -> str:
    """A pixel format by the name that the camera has for it: RGB8 was RGB8Packed once."""
    offered = port.offers("PixelFormat") if port.has("PixelFormat") else ()
    return next((name for name in names_of(wanted) if name in offered), wanted)


def _given(*pairs: tuple[str, FeatureValue | None]) -> list[FeatureStep]:
    return [FeatureStep(name, value) for name, value in pairs if value is not None]


def _encoder(spec: GenicamSpec, port: FeaturePort) -> list[FeatureStep]:
    encoder = spec.encoder
    if encoder is None:
        return []
    chosen: dict[str, FeatureValue] = {}
    if port.has("EncoderSelector"):
        chosen = {"EncoderSelector": encoder.selector}
    wanted = {
        "encoder_source_a": encoder.source_a,
        "encoder_source_b": encoder.source_b,
        "encoder_mode": encoder.mode,
        "encoder_divider": encoder.divider,
        "encoder_output_mode": encoder.output_mode,
    }
    return [
        _named(port, _Setting(setting, value), chosen)
        for setting, value in wanted.items()
        if value is not None
    ]


def _triggers(spec: GenicamSpec, port: FeaturePort) -> list[FeatureStep]:
    wanted = {trigger.selector: trigger for trigger in spec.triggers}
    # What the camera may still have switched on from its last job: each that is left on
    # waits for a signal that never comes.
    off: list[FeatureStep] = []
    if not port.has("TriggerSelector"):
        if not wanted:
            off = [FeatureStep("TriggerMode", "Off", optional=True)]
    else:
        off = [
            FeatureStep("TriggerMode", "Off", {"TriggerSelector": name}, optional=True)
            for name in port.offers("TriggerSelector")
            if name not in wanted
        ]
    # Switched on last: a trigger without its source may fire at once.
    return off + [step for trigger in wanted.values() for step in _trigger(trigger, port)]


def _trigger(trigger: CameraTriggerSpec, port: FeaturePort) -> list[FeatureStep]:
    chosen = trigger_choice(port, trigger)
    steps = [FeatureStep("TriggerSource", trigger.source, chosen)]
    if trigger.activation is not None:
        steps.append(FeatureStep("TriggerActivation", trigger.activation, chosen))
    if trigger.delay_us is not None:
        delay = _Setting("trigger_delay_us", trigger.delay_us, "us")
        steps.append(_named(port, delay, chosen))
    return [*steps, FeatureStep("TriggerMode", "On", chosen)]
