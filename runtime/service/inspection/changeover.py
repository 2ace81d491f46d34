"""Changing the bundle without stopping: prove it beside the line, switch between two frames."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from kenpin.config.text import brief
from kenpin.runtime.bundles.layout import folder_name
from kenpin.runtime.service.inspection.clerk import Clerk
from kenpin.runtime.service.inspection.messages import (
    BundleFacts,
    Failed,
    Gone,
    InspectionEvent,
    Phase,
    PhaseChanged,
)
from kenpin.runtime.service.inspection.supervisor import Supervisor
from kenpin.runtime.wire.line_messages import ChangeStep

__all__ = ["Change", "Changeover", "ChangeoverError", "store_of"]

# A folder of the store: a name, a dash and the start of the content hash.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}[-@][0-9a-f]{12}")


class ChangeoverError(ValueError):
    """A command that cannot be obeyed: says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a PREPARE; `owner` asked for it."""

    owner: Hashable
    step: ChangeStep
    bundle: str
    detail: str = ""


def store_of(bundles: Path) -> Path:
    """The folder that holds bundles side by side."""
    return bundles if (bundles / "current").is_symlink() else bundles.parent


class Changeover:
    """PREPARE, then ACTIVATE; whatever fails, the running bundle stays.

    supervisor   who runs the processes
    bundles      the store, or a bundle in it
    pixel_bytes  of a slot of the ring: larger frames cannot be taken
    """

    def __init__(self, supervisor: Supervisor, bundles: Path, pixel_bytes: int) -> None:
        self._supervisor = supervisor
        self._store = store_of(bundles)
        self._follows_current = bundles == self._store
        self._pixel_bytes = pixel_bytes
        self._owner: Hashable = None
        self._asked = ""
        # What each client has asked for since a bundle was put into force.
        self._wanted: dict[Hashable, str] = {}
        self._pending = False
        self._detail = ""
        self._clerk = Clerk(self._store)

    def prepare(self, owner: Hashable, bundle: str) -> list[Change]:
        """Begin to prove a bundle of the store, by its label or its folder's name.

        One that somebody else asked for and that is not in force yet is dropped, and
        they are told.

        Raises
        ------
        ChangeoverError
            If there is none of that name.
        """
        if not _NAME.fullmatch(bundle):
            raise ChangeoverError(
                f"bundle {brief(bundle)}: expected a bundle's label, such as web@0123456789ab"
            )
        name = folder_name(bundle)
        folder = self._store / name
        if not folder.is_dir():
            raise ChangeoverError(f"no {name} in {self._store}; install the bundle first")
        self._supervisor.prepare(folder)
        changes = [Change(owner, "preparing", bundle)]
        if self._pending and (self._owner, self._asked) != (owner, bundle):
            why = f"superseded: {bundle} is prepared instead, as was asked later"
            changes.insert(0, Change(self._owner, "failed", self._asked, why))
        self._owner, self._asked, self._detail = owner, bundle, ""
        self._wanted[owner] = name
        self._pending = True
        return changes

    def event(self, event: InspectionEvent) -> Change | None:
        """What a message of the candidate means; None if nothing has come of it yet."""
        if isinstance(event, PhaseChanged) and event.phase is Phase.READY:
            facts = event.facts
            assert facts is not None
            unfit = self._unfit(facts)
            if unfit:
                self._supervisor.discard(unfit)
                self._pending = False
                return Change(self._owner, "failed", facts.label, unfit)
            return Change(self._owner, "prepared", facts.label)
        if isinstance(event, Failed):
            self._detail = event.detail
        elif isinstance(event, Gone):
            self._pending = False
            return Change(self._owner, "failed", self._asked, self._detail or event.detail)
        return None

    def _unfit(self, facts: BundleFacts) -> str:
        height, width, channels = facts.frame
        if height * width * channels > self._pixel_bytes:
            return (
                f"{facts.label} expects frames of {height} x {width} x {channels} bytes, a slot of "
                f"the ring holds {self._pixel_bytes}; restart the line with it instead"
            )
        return ""

    def activate(self, owner: Hashable, bundle: str | None = None) -> Change:
        """Let the prepared bundle judge from the next frame on.

        Parameters
        ----------
        bundle
            Label or folder's name of the one that is meant; None: whichever is prepared,
            if nobody has prepared another one.

        Raises
        ------
        ChangeoverError
            If none is prepared, or it is not the one that is meant.
        """
        prepared = self._supervisor.prepared
        if prepared is not None:
            self._meant(bundle, prepared)
        facts = self._supervisor.activate()
        if facts is None:
            raise ChangeoverError("no bundle is prepared; PREPARE one and wait until it is")
        self._wanted.clear()
        self._pending = False
        if self._follows_current:
            self._clerk.point(facts.folder)
        return Change(owner, "active", facts.label)

    def drop(self, prepared: Change, why: str) -> Change:
        """Give up a bundle that was prepared, and say why."""
        self._supervisor.discard(why)
        self._pending = False
        self._wanted.pop(prepared.owner, None)
        return Change(prepared.owner, "failed", prepared.bundle, why)

    def _meant(self, bundle: str | None, prepared: BundleFacts) -> None:
        """One client's ACTIVATE must not put another's bundle into force."""
        if bundle is not None:
            if folder_name(bundle) != folder_name(prepared.label):
                raise ChangeoverError(
                    f"{brief(bundle)} is not prepared, {prepared.label} is; PREPARE it again"
                )
        elif len(set(self._wanted.values())) > 1:
            raise ChangeoverError(
                f"different bundles were prepared, lately {prepared.label}; name the one that is "
                "meant: ACTIVATE with its `bundle`"
            )

    def failed_to_remember(self) -> bool:
        """Whether a restart of the box would undo the last change; asks, never waits."""
        self._clerk.poll()
        return self._clerk.failed

    def close(self) -> None:
        """Wait for a link that is being set, but not for a disk that hangs."""
        self._clerk.close()
