"""Which camera a line has: a real one, recorded frames, or the synthetic web.

A kind of camera is what a line may say of it, a `CameraSettings`, and the function that
opens it, a `kenpin.camera.source.OpenSource`. A `Source` names both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, SerializeAsAny, StringConstraints, model_validator

from kenpin.config.registry import Registry, settings_by
from kenpin.config.settings import Settings, anchored, load

__all__ = [
    "SOURCES",
    "CameraEncoderSpec",
    "CameraSettings",
    "CameraSpec",
    "CameraTriggerSpec",
    "FeatureSpec",
    "GenicamSpec",
    "Origin",
    "RecordedSpec",
    "Source",
    "SyntheticSpec",
    "load_camera",
]

# What stands behind the frames of a source.
Origin = Literal["camera", "recording", "simulation"]
FeatureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
FeatureValue = bool | int | float | str


class CameraSettings(Settings):
    """What every camera's table `[camera]` has.

    kind  which camera; each has a table of its own keys below
    """

    # What it shows: verdicts on anything but a real camera's frames are marked as
    # simulated, and a real camera is opened by nobody but the line.
    origin: ClassVar[Origin] = "camera"

    kind: str

    @property
    def frame_lines(self) -> int | None:
        """Scan lines of a frame; None if the settings do not say."""
        return None

    @property
    def conditions(self) -> dict[str, float]:
        """The settings that a flat field holds for, as far as they are given."""
        return {}

    def unfit_for(self, mode: str) -> str:  # noqa: ARG002
        """Why frames would not be taken as a line's `trigger.mode` says; empty if they are."""
        return ""


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of camera, and its code, each as "package.module:object".

    settings     the class of its table in a line; the gateway reads it, so its module
                 should import nothing heavy
    open         an `OpenSource`, called in the acquisition process
    frame_bytes  a function of the settings: bytes of a frame, for whoever records it;
                 may ask the camera. None: cannot be recorded
    """

    settings: type[CameraSettings]
    open: str
    frame_bytes: str | None = None


class CameraTriggerSpec(Settings):
    """What starts a line or a frame in the camera.

    selector    FrameStart (a part's sensor), LineStart (an encoder), or FrameBurstStart
    source      as the camera names it: Line0, Encoder0, rotaryEncoder1, Software
    activation  which change of the signal counts: RisingEdge, FallingEdge, AnyEdge, ...
    delay_us    from the signal to the start
    """

    selector: FeatureName = "FrameStart"
    source: FeatureName
    activation: FeatureName | None = None
    delay_us: float | None = Field(default=None, ge=0)


class CameraEncoderSpec(Settings):
    """The encoder that the camera itself counts; names as in the SFNC.

    selector     which of its encoders
    source_a     the input of its track A, such as Line1
    source_b     the input of its track B
    mode         how both tracks are counted, such as FourPhase or HighResolution
    divider      one line for so many counts
    output_mode  what a line is started by: Position, Motion, ...
    """

    selector: FeatureName = "Encoder0"
    source_a: FeatureName | None = None
    source_b: FeatureName | None = None
    mode: FeatureName | None = None
    divider: int | None = Field(default=None, ge=1)
    output_mode: FeatureName | None = None


class FeatureSpec(Settings):
    """Any further feature by the camera's own name; vendors differ.

    name       of the feature
    value      what is written. For a command: true executes it, false does not
    selectors  written before it, and again before it is read back
    """

    name: FeatureName
    value: FeatureValue
    selectors: dict[FeatureName, FeatureValue] = Field(default_factory=dict)


class GenicamSpec(CameraSettings):
    """A GenICam line camera behind a GenTL producer; a value left out is left as it is.

    producers          .cti files; if empty, all in the folders of GENICAM_GENTL64_PATH
    serial, user_name, device_id, model
                       which camera; all that are given must fit, and fit only one
    width_px           pixels across, the SFNC's Width
    lines_per_frame    the SFNC's Height
    pixel_format       such as Mono8; docs/camera.md lists them
    exposure_us        of a line, by whatever name the camera has for it
    line_rate_hz       lines a second, by whatever name the camera has for it
    gain, black_level  by whatever name, in the camera's own unit
    offset_px          of the first pixel used
    packet_bytes       GigE Vision packets, their headers included
    triggers           what starts lines or frames; none: the camera runs freely
    encoder            that the camera counts
    chunks             values that the camera shall append to each frame
    features           further ones, written last, in this order
    buffers            for the camera to fill while one is copied
    stall_ms           no frame for so long from a free-running camera is a stall;
                       by default four frames, at least 500
    trigger_timeout_ms
                       no frame for so long after a software trigger means that none
                       will come; by default two frames and half a second. Where another
                       trigger waits, the deadline of the first one ends the waiting, too
    tolerance          how far the camera may round what is written, as a share
    bits               "all" keeps more than 8 bits as 16; "high" keeps the 8 highest
    flat_field         a calibration made by `edge-doctor flat-field`
    update_timeout_ms  for the producer to look for cameras
    """

    kind: Literal["genicam"]
    producers: tuple[Path, ...] = ()
    serial: str | None = None
    user_name: str | None = None
    device_id: str | None = None
    model: str | None = None
    width_px: int | None = Field(default=None, ge=1)
    offset_px: int | None = Field(default=None, ge=0)
    lines_per_frame: int | None = Field(default=None, ge=1)
    pixel_format: FeatureName | None = None
    line_rate_hz: float | None = Field(default=None, gt=0)
    exposure_us: float | None = Field(default=None, gt=0)
    gain: float | None = None
    black_level: float | None = None
    triggers: tuple[CameraTriggerSpec, ...] = ()
    encoder: CameraEncoderSpec | None = None
    packet_bytes: int | None = Field(default=None, ge=64, le=65535)
    chunks: tuple[FeatureName, ...] = ()
    features: tuple[FeatureSpec, ...] = ()
    buffers: int = Field(default=16, ge=2, le=1024)
    stall_ms: float | None = Field(default=None, gt=0)
    trigger_timeout_ms: float | None = Field(default=None, gt=0)
    tolerance: float = Field(default=0.001, ge=0, le=0.1)
    bits: Literal["all", "high"] = "high"
    flat_field: Path | None = None
    update_timeout_ms: int = Field(default=1000, ge=1, le=60_000)

    @model_validator(mode="after")
    def _line_fits_exposure(self) -> Self:
        if self.exposure_us is not None and self.line_rate_hz is not None:
            period_us = 1e6 / self.line_rate_hz
            if self.exposure_us >= period_us:
                raise ValueError(
                    f"exposure_us {self.exposure_us:g} is longer than a line's {period_us:g} us "
                    f"at line_rate_hz {self.line_rate_hz:g}; expose shorter or scan slower"
                )
        return self

    @model_validator(mode="after")
    def _one_trigger_each(self) -> Self:
        selectors = [trigger.selector for trigger in self.triggers]
        twice = sorted({name for name in selectors if selectors.count(name) > 1})
        if twice:
            raise ValueError(f"triggers: {', '.join(twice)} is given twice; expected each once")
        return self

    @property
    def frame_lines(self) -> int | None:
        """See `CameraSettings`."""
        return self.lines_per_frame

    @property
    def conditions(self) -> dict[str, float]:
        """See `CameraSettings`."""
        named = {
            "exposure_us": self.exposure_us,
            "gain": self.gain,
            "black_level": self.black_level,
            "line_rate_hz": self.line_rate_hz,
            "offset_px": self.offset_px,
        }
        return {name: float(value) for name, value in named.items() if value is not None}

    @property
    def free_running(self) -> bool:
        """Whether lines and frames come by themselves: then silence is a fault."""
        return not self.triggers

    @property
    def continuous(self) -> bool:
        """Whether one frame's lines follow the last one's, as on a web."""
        return all(trigger.selector == "LineStart" for trigger in self.triggers)

    def unfit_for(self, mode: str) -> str:
        """See `CameraSettings`: whoever asks for frames must be who the camera waits for."""
        asked = [t.selector for t in self.triggers if t.source == "Software"]
        if mode != "software":
            if not asked:
                return ""
            return (
                f"camera.triggers has the source Software for {', '.join(asked)}: nobody would "
                "ask for frames; set trigger.mode to software, or another source"
            )
        if any(selector != "LineStart" for selector in asked):
            return ""
        found = ", ".join(f"{t.selector} from {t.source}" for t in self.triggers)
        return (
            "camera.triggers has no source Software for a frame (found "
            f"{found or 'none: the camera runs freely'}): a TRIGGER would be answered by "
            'whatever frame is under way; add { selector = "FrameStart", source = "Software" }, '
            "or set trigger.mode to free or hardware"
        )

    @property
    def software_triggered(self) -> bool:
        """Whether frames are asked for by software."""
        return any(trigger.source == "Software" for trigger in self.triggers)


class RecordedSpec(CameraSettings):
    """Recorded frames: a recording of kenpin's, or a folder of images.

    folder    of the frames
    as_timed  a recording is played in the time in which it was captured
    rate_hz   instead, frames a second; with neither, flat out
    loop      begins again after the last frame
    """

    origin: ClassVar[Origin] = "recording"

    kind: Literal["recorded"]
    folder: Path
    as_timed: bool = False
    rate_hz: float | None = Field(default=None, gt=0)
    loop: bool = False


class SyntheticSpec(CameraSettings):
    """The synthetic web, to try a line without a camera.

    height_px  scan lines of a frame
    width_px   pixels across
    seed       of what is drawn
    rate_hz    frames a second; by default flat out
    count      of frames, after which it ends; by default it never does
    """

    origin: ClassVar[Origin] = "simulation"

    kind: Literal["synthetic"]
    height_px: int = Field(ge=64)
    width_px: int = Field(ge=64)
    seed: int = Field(default=0, ge=0)
    rate_hz: float | None = Field(default=None, gt=0)
    count: int | None = Field(default=None, ge=1)

    @property
    def frame_lines(self) -> int | None:
        """See `CameraSettings`."""
        return self.height_px


GENICAM = Source(
    GenicamSpec,
    "kenpin.camera.opening:open_genicam",
    "kenpin.camera.genicam.discovery:frame_bytes",
)
RECORDED = Source(RecordedSpec, "kenpin.camera.opening:open_recorded")
SYNTHETIC = Source(
    SyntheticSpec,
    "kenpin.camera.opening:open_synthetic",
    "kenpin.camera.opening:synthetic_frame_bytes",
)

# Every kind of camera; further ones are entry points in the group kenpin.sources.
SOURCES: Registry[Source] = Registry(
    "kenpin.sources",
    "camera",
    Source,
    {
        "genicam": "kenpin.config.camera:GENICAM",
        "recorded": "kenpin.config.camera:RECORDED",
        "synthetic": "kenpin.config.camera:SYNTHETIC",
    },
)

# The table `[camera]`: of the class that belongs to its kind.
CameraSpec = Annotated[SerializeAsAny[CameraSettings], settings_by("kind", SOURCES)]


class _LineSettings(Settings):
    """A line's file, of which only the camera is wanted."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    camera: CameraSpec


def load_camera(path: Path, changes: Sequence[str] = ()) -> CameraSpec:
    """The camera in a line's TOML file, its paths made absolute.

    Raises
    ------
    ConfigError
        If the file cannot be read, or its table `camera` holds an unknown,
        missing or impossible setting.
    """
    return anchored(load(_LineSettings, path, changes).camera, path.resolve().parent)
