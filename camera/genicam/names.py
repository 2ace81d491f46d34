"""What cameras call a setting: SFNC 2.x, SFNC 1.x and vendors' own names, in one table.

The Standard Features Naming Convention renamed most numbers from 1.x to 2.x
(ExposureTimeAbs became ExposureTime), and cameras of both kinds are on sale.
A setting takes the first of its names that the camera has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

__all__ = [
    "AUTOMATICS",
    "NAMES",
    "Name",
    "UnitError",
    "convert",
    "nearest",
]


@dataclass(frozen=True)
class Name:
    """One name that cameras have for a setting.

    feature    as the camera calls it
    source     where the name is published
    unit       of its number where the camera's description gives none; "own": it means
               what the camera's maker says, and the setting is written as it is; "stated":
               only a description that names a unit can be used
    selectors  what this name must be chosen by, besides the setting's own selector
    """

    feature: str
    source: str
    unit: str = "own"
    selectors: dict[str, str] = field(default_factory=dict)


_SFNC2 = "EMVA SFNC 2.x; Teledyne DALSA, FLIR, Hikrobot, Vieworks, JAI, Basler USB, Alvium"
_SFNC1 = "EMVA SFNC 1.x; Basler GigE, Allied Vision GigE, JAI GigE, Point Grey GigE"
_SFNC1_RAW = "EMVA SFNC 1.x, in the device's own steps; JAI, Teledyne DALSA Spyder, Basler GigE"
_E2V = "Teledyne e2v UNiiQA+ and ELiiXA+ user manuals"
_DALSA = "Teledyne DALSA Linea GigE user manual"
_BASLER_SHAFT = "Basler runner and racer GigE user manuals, shaft encoder module"

# Setting, then its names, the newest first.
NAMES: dict[str, tuple[Name, ...]] = {
    "exposure_us": (
        Name("ExposureTime", _SFNC2, "us"),
        Name("ExposureTimeAbs", _SFNC1, "us"),
        Name("ExposureTimeRaw", _SFNC1_RAW, "stated"),
    ),
    "line_rate_hz": (
        Name("AcquisitionLineRate", _SFNC2, "Hz"),
        Name("AcquisitionLineRateAbs", "EMVA SFNC 1.x; Basler runner and racer GigE", "Hz"),
        Name("AcquisitionLineRateRaw", _SFNC1_RAW, "stated"),
        Name("LinePeriod", _E2V, "stated"),
        Name("AcquisitionLinePeriod", _E2V, "stated"),
    ),
    "resulting_line_rate_hz": (
        Name("ResultingAcquisitionLineRate", "Basler USB and CoaXPress", "Hz"),
        Name("ResultingLineRate", "Hikrobot line scan user manual", "Hz"),
        Name("ResultingLineRateAbs", "Basler runner and racer GigE user manuals", "Hz"),
    ),
    "gain": (
        Name("Gain", _SFNC2),
        Name("GainAbs", _SFNC1),
        Name("GainRaw", _SFNC1_RAW),
    ),
    "black_level": (
        Name("BlackLevel", _SFNC2),
        Name("BlackLevelAbs", _SFNC1),
        Name("BlackLevelRaw", _SFNC1_RAW),
    ),
    "trigger_delay_us": (
        Name("TriggerDelay", _SFNC2, "us"),
        Name("TriggerDelayAbs", _SFNC1, "us"),
        Name("TriggerDelayRaw", _SFNC1_RAW, "stated"),
    ),
    "packet_bytes": (
        Name("GevSCPSPacketSize", "EMVA SFNC 1.x and 2.x; all GigE Vision cameras"),
        Name("DeviceStreamChannelPacketSize", "EMVA SFNC 2.3"),
        Name("GVSPPacketSize", "Allied Vision GigE features reference"),
    ),
    "encoder_source_a": (
        Name("EncoderSourceA", "EMVA SFNC 2.x"),
        Name("rotaryEncoderInputASource", _DALSA),
        Name(
            "ShaftEncoderModuleLineSource",
            _BASLER_SHAFT,
            selectors={"ShaftEncoderModuleLineSelector": "PhaseA"},
        ),
    ),
    "encoder_source_b": (
        Name("EncoderSourceB", "EMVA SFNC 2.x"),
        Name("rotaryEncoderInputBSource", _DALSA),
        Name(
            "ShaftEncoderModuleLineSource",
            _BASLER_SHAFT,
            selectors={"ShaftEncoderModuleLineSelector": "PhaseB"},
        ),
    ),
    "encoder_mode": (
        Name("EncoderMode", "EMVA SFNC 2.x"),
        Name("ShaftEncoderModuleMode", _BASLER_SHAFT),
    ),
    "encoder_divider": (
        Name("EncoderDivider", "EMVA SFNC 2.x"),
        Name("rotaryEncoderDivider", _DALSA),
    ),
    "encoder_output_mode": (
        Name("EncoderOutputMode", "EMVA SFNC 2.x"),
        Name("rotaryEncoderOutputMode", _DALSA),
    ),
}

# What moves a setting by itself unless it is switched off, and what off is called. A
# camera that has it without that entry is left alone.
AUTOMATICS: dict[str, tuple[tuple[str, str], ...]] = {
    "exposure_us": (
        ("ExposureAuto", "Off"),  # SFNC
        ("autoBrightnessMode", "Off"),  # Teledyne DALSA Genie
        ("ExposureMode", "Timed"),  # SFNC: by ExposureTime, not by a wire's width
    ),
    "gain": (
        ("GainAuto", "Off"),  # SFNC
        ("autoBrightnessMode", "Off"),
    ),
    "black_level": (("BlackLevelAuto", "Off"),),  # SFNC
}

# Of a second, and of a hertz.
_TIME = {"s": 1.0, "sec": 1.0, "ms": 1e3, "us": 1e6, "µs": 1e6, "μs": 1e6, "usec": 1e6, "ns": 1e9}
_RATE = {"hz": 1.0, "khz": 1e-3, "mhz": 1e-6, "1/s": 1.0, "lines/s": 1.0, "l/s": 1.0}


class UnitError(Exception):
    """A number without a unit that anybody states."""


def convert(number: float, unit: str, stated: str, default: str) -> float:
    """A setting's number as a camera's feature wants it, or back again.

    Parameters
    ----------
    unit
        Of the number: "us", "Hz", or whatever the camera's maker means.
    stated
        The unit in the camera's description, empty if it gives none.
    default
        Of the feature's `Name`, for a description without a unit that is known.

    Raises
    ------
    UnitError
        If neither says it.
    """
    if default == "own":
        return number
    own, camera = unit.lower(), stated.strip().lower()
    if camera not in _TIME and camera not in _RATE:
        if default == "stated":
            raise UnitError(f"its description does not say in what unit it is ({stated or 'none'})")
        camera = default.lower()
    if (own in _TIME) == (camera in _TIME):
        table = _TIME if own in _TIME else _RATE
        return number / table[own] * table[camera]
    # A rate for a camera that wants the period.
    return _TIME[camera] / (number / _RATE[own])


def nearest(name: str, known: Iterable[str], count: int = 5) -> list[str]:
    """The names that are most like one that there is not, for people."""
    lower = {other.lower(): other for other in known}
    word = name.lower()
    within = sorted((other for other in lower if word in other or other in word), key=len)
    alike = get_close_matches(word, lower, n=count, cutoff=0.6)
    return [lower[other] for other in dict.fromkeys([*alike, *within])][:count]
