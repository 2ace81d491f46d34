"""Processes beside the line: the kinds there are, and what a line may say of those in `[[sides]]`.

A kind is what may be set of it, a handle by which the gateway knows its process, and, unless
it has a handle of its own, the function that is the process. A `SideKind` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from kenpin.config.registry import Registry, settings_by
from kenpin.config.settings import Listening, Settings

__all__ = ["LINE_PARTS", "SIDES", "Frames", "SideKind", "SideSettings", "SideSpec"]

# With which verdicts a side process is lent the frame.
Frames = Literal["none", "ng", "all"]

# What alarms and metrics call the line's own parts and processes. A side process of such a name
# would end their alarms whenever it is well itself.
LINE_PARTS = frozenset(
    [
        "access",
        "acquisition",
        "archive",
        "audit",
        "bundle",
        "camera",
        "candidate",
        "changeover",
        "clients",
        "drift",
        "gateway",
        "img",
        "inspection",
        "log",
        "niceness",
        "page",
        "priority",
        "progress",
        "rolls",
        "selftest",
        "status",
        "store",
        "uninspected",
    ]
)

_PACKAGE = "kenpin.runtime.service.sides"


class SideSettings(Listening):
    """What every table of `[[sides]]` has.

    kind  tells the kinds of process apart
    name  tells several of one kind apart, in alarms and, by its first 8 characters, in ps; by
          default the kind
    """

    # Whose pixels and maps it may look at, one at a time: a frame that comes while it is at
    # work on another is told without them.
    frames: ClassVar[Frames] = "none"

    kind: str
    name: str = Field(default="", pattern=r"^[a-z0-9_-]{0,32}$")

    @property
    def called(self) -> str:
        """By what name it is known."""
        return self.name or self.kind


@dataclass(frozen=True, slots=True)
class SideKind:
    """A kind of process beside the line, and its code, each as "package.module:object".

    settings  the class of its table; the gateway reads it, so its module should import
              nothing heavy
    work      a `Work`, which is the process; for those that the gateway has no handle of
              their own for
    handle    a `MakeSide`, called in the gateway
    """

    settings: type[Settings]
    work: str = ""
    handle: str = f"{_PACKAGE}.generic:GenericSide"

    def __post_init__(self) -> None:
        if not self.work and self.handle == f"{_PACKAGE}.generic:GenericSide":
            raise ValueError("a SideKind without `work`; name the function that is the process")


# Each has a table of its own in a line's settings, and a handle of its own.
ARCHIVE = SideKind(Settings, handle=f"{_PACKAGE}.archive:Archive")
BRIDGE = SideKind(Settings, handle=f"{_PACKAGE}.bridge:BridgeSide")
PAGE = SideKind(Settings, handle=f"{_PACKAGE}.live_page:LivePage")
PREVIEW = SideKind(Settings, handle=f"{_PACKAGE}.preview:Preview")
ROLLS = SideKind(Settings, handle=f"{_PACKAGE}.rolls:Rolls")
STATUS = SideKind(Settings, handle=f"{_PACKAGE}.status:StatusReporter")

# Every kind of side process; further ones are entry points in the group kenpin.sides.
SIDES: Registry[SideKind] = Registry(
    "kenpin.sides",
    "side process",
    SideKind,
    {
        "archive": "kenpin.config.sides:ARCHIVE",
        "bridge": "kenpin.config.sides:BRIDGE",
        "page": "kenpin.config.sides:PAGE",
        "preview": "kenpin.config.sides:PREVIEW",
        "rolls": "kenpin.config.sides:ROLLS",
        "status": "kenpin.config.sides:STATUS",
    },
)
_TABLES = {
    "archive": "[archive]",
    "bridge": "[[bridges]]",
    "page": "[page]",
    "preview": "wire.img",
    "rolls": "[rolls]",
    "status": "[status]",
}


def _has_no_table_of_its_own(table: Any) -> Any:
    if isinstance(table, Mapping) and (own := _TABLES.get(str(table.get("kind")))):
        raise ValueError(f"{table['kind']} is asked for by {own}, not in [[sides]]")
    return table


# A table of `[[sides]]`: of the class that belongs to its kind.
SideSpec = Annotated[
    SerializeAsAny[SideSettings],
    settings_by("kind", SIDES),
    BeforeValidator(_has_no_table_of_its_own),
]
