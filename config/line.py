"""The line: everything that a box has to know of one line, its camera and its clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from kenpin.config.bridges import BridgeSpec
from kenpin.config.camera import CameraSpec
from kenpin.config.drift import DriftSpec
from kenpin.config.page import PageSpec
from kenpin.config.settings import Listening, Settings, anchored, load
from kenpin.config.sides import LINE_PARTS, SideSpec
from kenpin.config.web import WebSpec

__all__ = [
    "ArchiveSpec",
    "GatewaySpec",
    "InspectionSpec",
    "Line",
    "LineTriggerSpec",
    "LogSpec",
    "RingSpec",
    "RollsSpec",
    "SelftestSpec",
    "StatusSpec",
    "UninspectedSpec",
    "WatchdogSpec",
    "WireSpec",
    "load_line",
]

Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class LineTriggerSpec(Settings):
    """What asks for a verdict, and how long it may take.

    mode           free: every frame is judged, the camera runs by itself;
                   hardware: the same, the camera is triggered by a wire;
                   software: frames are taken on TRIGGER messages only
    budget_ms      from the last scan line, or from the TRIGGER, to the verdict
    max_in_flight  triggers under way at once; one more is NG overrun
    """

    mode: Literal["free", "hardware", "software"] = "free"
    budget_ms: float = Field(gt=0, le=60_000)
    max_in_flight: int = Field(default=2, ge=1, le=8)


class RingSpec(Settings):
    """Frames in shared memory between camera, inspection and archive.

    slots        frames that it holds
    pixel_bytes  of one slot; by default what the bundle's frame needs
    """

    slots: int = Field(default=8, ge=3, le=256)
    pixel_bytes: int | None = Field(default=None, ge=1)


class WireSpec(Settings):
    """Where the line is spoken to. Endpoints: tcp://ADDRESS:PORT or ipc:///PATH.

    ctl            where commands are taken; "": nowhere, and nobody can trigger
    pub            where verdicts and states are published
    img            where pictures are published; by default nowhere
    encoding       of ctl, and of pub unless pub_encoding says another; struct is
                   for soft PLCs and says less, see docs/protocol.md
    pub_encoding   of pub alone; by default as encoding
    keys           folder with the line's CURVE keys and the clients' public
                   ones; a must for addresses that are not local. TCP clients
                   without an admitted key are turned away, local ones too
    ipc_group      the group of the service's user may use ipc sockets too
    resend_ms      pause before a verdict that its client has not acknowledged is
                   sent again
    """

    ctl: str = "tcp://127.0.0.1:5555"
    pub: str = "tcp://127.0.0.1:5556"
    img: str | None = None
    encoding: Literal["msgpack", "json", "struct"] = "msgpack"
    pub_encoding: Literal["msgpack", "json", "struct"] | None = None
    keys: Path | None = None
    ipc_group: bool = False
    resend_ms: float = Field(default=20.0, ge=5, le=10_000)


class GatewaySpec(Settings):
    """What the process that keeps the deadlines asks of the kernel; refused, it is an alarm.

    realtime_priority  of SCHED_FIFO, before all ordinary work; 0: none
    lock_memory        its pages stay in memory
    """

    realtime_priority: int = Field(default=10, ge=0, le=49)
    lock_memory: bool = True


class InspectionSpec(Settings):
    """What the inspection process may use.

    threads           cores for the network; by default as many as it may run on, less one
                      for Python, the camera and the network card, unless `cpus`
                      leaves them one
    cpus              the cores it may run on; by default those of the service
    prepare_niceness  of the process that proves the next bundle beside the line
    """

    threads: int | None = Field(default=None, ge=1, le=256)
    cpus: tuple[int, ...] | None = None
    prepare_niceness: int = Field(default=10, ge=0, le=19)


class SelftestSpec(Settings):
    """When the bundle's files are hashed and its golden frames judged again.

    Both always happen at the start.

    every_s  in pauses between frames; 0: on command only
    """

    every_s: float = Field(default=3600, ge=0)

    @field_validator("every_s")
    @classmethod
    def _seldom(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError(f"found {value:g}, expected 0 (on command only) or at least 1")
        return value


class ArchiveSpec(Settings):
    """Where NG frames, and a sample of OK frames, are kept; docs/archive.md has the rules.

    folder          must exist; each line its own
    max_bytes       of all that the archive holds
    max_files       the same in files
    min_free_bytes  left on the disk, whoever fills it
    ok_every        one of so many OK frames; 0: none
    """

    folder: Path
    max_bytes: int = Field(default=20_000_000_000, ge=1_000_000)
    max_files: int = Field(default=200_000, ge=10)
    min_free_bytes: int = Field(default=2_000_000_000, ge=0)
    ok_every: int = Field(default=100, ge=0)


class StatusSpec(Listening):
    """The page for Prometheus, /healthz and /readyz.

    address  in numbers
    port     0: a free one, which the log tells
    """

    address: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65535)


class RollsSpec(Settings):
    """Where the reports of a web's rolls are written; `web.roll` says where rolls end.

    folder  for them
    start   a roll begins with the service; else by command, or at its encoder count
    """

    folder: Path
    start: bool = True


class WatchdogSpec(Settings):
    """How long an inspection process may be silent.

    hung_ms  before clients are told; three heartbeats are 300 ms
    kill_ms  before it is killed and replaced
    start_s  while it verifies, compiles and warms up
    """

    hung_ms: float = Field(default=200, ge=100, le=10_000)
    kill_ms: float = Field(default=1000, ge=100, le=60_000)
    start_s: float = Field(default=120, ge=1, le=3600)

    @model_validator(mode="after")
    def _hung_before_killed(self) -> Self:
        if self.kill_ms < self.hung_ms:
            raise ValueError(
                f"kill_ms {self.kill_ms:g} is below hung_ms {self.hung_ms:g}: clients would learn "
                "of a hang after its end; expected kill_ms >= hung_ms"
            )
        return self


class UninspectedSpec(Settings):
    """How many parts may be NG without inspection before that is an alarm.

    Such as `no_frame`, `incomplete_frame`, `camera_lost`, `overrun` and `late`: the
    part is rejected, and nothing is known of it.

    window    of the last so many verdicts
    raise_at  so many raise the alarm, and the state is `degraded`
    clear_at  so few, or fewer, end it
    """

    window: int = Field(default=50, ge=1, le=10_000)
    raise_at: int = Field(default=5, ge=1)
    clear_at: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _can_be_raised_and_cleared(self) -> Self:
        if not self.clear_at < self.raise_at <= self.window:
            raise ValueError(
                f"raise_at {self.raise_at} lies not between clear_at {self.clear_at} and window "
                f"{self.window}; expected clear_at < raise_at <= window"
            )
        return self


class LogSpec(Settings):
    """The log on stderr: JSON lines; what finds no room is dropped and counted.

    level     the least that is written
    capacity  lines that may wait to be written
    burst     so often in a minute the same event is written
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    capacity: int = Field(default=1000, ge=10, le=100_000)
    burst: int = Field(default=60, ge=1, le=100_000)


class Line(Settings):
    """A line on a box. Relative paths start at the file's folder.

    name     of the line, in topics and messages
    box      the computer's name, in messages
    cam      the camera's name, in messages
    bundles  the bundle store, whose link `current` names the bundle in force;
             or one bundle's own folder
    trust    a folder of public keys, one of which must have signed a bundle before
             it is used; without it bundles need no signature
    audit    the log of who changed what; by default audit.jsonl in the bundle store
    sim      verdicts are marked as simulated; by default if no real camera is used
    web      lanes, gates and rolls of this line, instead of the recipe's
    sides    further processes beside the line, of installed packages
    bridges  other protocols that the line can be reached by
    drift    when pictures that no longer look as the good images did are an alarm
    """

    name: Token
    box: Token
    cam: Token = "cam"
    bundles: Path
    trust: Path | None = None
    audit: Path | None = None
    sim: bool | None = None
    trigger: LineTriggerSpec
    camera: CameraSpec
    web: WebSpec | None = None
    ring: RingSpec = RingSpec()
    wire: WireSpec = WireSpec()
    gateway: GatewaySpec = GatewaySpec()
    inspection: InspectionSpec = InspectionSpec()
    selftest: SelftestSpec = SelftestSpec()
    archive: ArchiveSpec | None = None
    rolls: RollsSpec | None = None
    status: StatusSpec | None = None
    page: PageSpec | None = None
    sides: tuple[SideSpec, ...] = ()
    bridges: tuple[BridgeSpec, ...] = ()
    watchdog: WatchdogSpec = WatchdogSpec()
    uninspected: UninspectedSpec = UninspectedSpec()
    drift: DriftSpec = DriftSpec()
    log: LogSpec = LogSpec()

    @model_validator(mode="after")
    def _asked_for_as_it_is_taken(self) -> Self:
        """A verdict must rest on the frame that its trigger asked for."""
        unfit = self.camera.unfit_for(self.trigger.mode)
        if unfit:
            raise ValueError(f"trigger.mode is {self.trigger.mode}, yet {unfit}")
        return self

    @model_validator(mode="after")
    def _sides_have_names(self) -> Self:
        names = [side.called for side in self.sides]
        names += [bridge.called for bridge in self.bridges]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"sides: {', '.join(twice)} names more than one process; give each of "
                "[[sides]] and [[bridges]] a name of its own"
            )
        taken = sorted(LINE_PARTS.intersection(names))
        if taken:
            raise ValueError(
                f"sides: {', '.join(taken)} is what alarms call a part of the line itself; give "
                "that table of [[sides]] or [[bridges]] another name"
            )
        return self

    @model_validator(mode="after")
    def _bridges_can_talk_with_it(self) -> Self:
        if not self.bridges:
            return self
        wire = self.wire
        if not wire.ctl:
            raise ValueError("bridges: they are clients of wire.ctl, which is empty; set it")
        if "struct" in (wire.encoding, wire.pub_encoding):
            raise ValueError(
                "bridges: wire.encoding struct says too little for them; use msgpack or json"
            )
        seers = [bridge.called for bridge in self.bridges if bridge.wants_pictures]
        if seers and wire.img is None:
            raise ValueError(
                f"bridges: {', '.join(seers)} keeps pictures, and the line shows none; set wire.img"
            )
        if any(endpoint.endswith((":*", ":0")) for endpoint in (wire.ctl, wire.pub)):
            raise ValueError("bridges: they must know wire.ctl and wire.pub; give each a port")
        if wire.keys is not None and (bare := [b.called for b in self.bridges if b.keys is None]):
            raise ValueError(
                f"bridges: {', '.join(bare)} without keys, for which the line asks (wire.keys); "
                f"edge-run keys client NAME {wire.keys}, and keys = FILE in the bridge's table"
            )
        return self

    @property
    def beside(self) -> list[tuple[str, Settings]]:
        """The processes beside the line by kind, with their settings."""
        own = {
            "archive": self.archive,
            "preview": None if self.wire.img is None else self.wire,
            "rolls": self.rolls,
            "status": self.status,
            "page": self.page,
        }
        asked: list[tuple[str, Settings]] = [
            (kind, settings) for kind, settings in own.items() if settings is not None
        ]
        asked += [(side.kind, side) for side in self.sides]
        return asked + [("bridge", bridge) for bridge in self.bridges]

    @property
    def simulated(self) -> bool:
        """Whether anything real may act on the verdicts."""
        return self.camera.origin != "camera" if self.sim is None else self.sim


def load_line(path: Path, changes: Sequence[str] = ()) -> Line:
    """The line in a TOML file, its paths made absolute.

    Raises
    ------
    ConfigError
        As `load`; every unknown, missing or impossible setting is named.
    """
    return anchored(load(Line, path, changes), path.resolve().parent)
