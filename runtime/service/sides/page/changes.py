"""Another threshold, or the bundle before: made here, proven and put into force by the gateway."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from kenpin.config.line import Line
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.bundles.manifest import BundleError, Manifest
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.bundles.store import Store, StoreError
from kenpin.runtime.service.audit import AuditError, Who, audit_of
from kenpin.runtime.service.inspection.changeover import store_of
from kenpin.runtime.service.sides.page.live import LiveLine

__all__ = ["BundleChanges", "ThresholdChangeError"]

_PATIENCE_S = 180.0
PROPOSALS = "proposals"


class ThresholdChangeError(ValueError):
    """The change cannot be made: says why, and what to do."""


class BundleChanges:
    """One change at a time. Nothing here judges: the gateway proves each bundle first.

    want  asks the gateway for a bundle of the store, by its folder's name
    """

    def __init__(self, line: Line, live: LiveLine, want: Callable[[str], None]) -> None:
        self._line = line
        self._live = live
        self._want = want
        self._store = store_of(line.bundles)
        self._lock = threading.Lock()
        self._busy_until = 0.0
        self._state: dict[str, Any] = {"step": "", "bundle": "", "detail": ""}
        # Folder names in the order they came into force since the page began: to go back.
        self._before: list[str] = []
        self._read: tuple[str, Manifest] | None = None

    # -- told by the gateway ---------------------------------------------------------------

    def changed(self, step: str, bundle: str, detail: str) -> None:
        """How far a bundle has come."""
        with self._lock:
            self._state = {"step": step, "bundle": bundle, "detail": detail}
            if step in ("active", "failed"):
                self._busy_until = 0.0
            self._live.version += 1

    # -- asked by readers ------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """How far the last change has come, and whether there is a way back."""
        with self._lock:
            return {
                **self._state,
                "back": bool(self._before),
                "trust": self._line.trust is not None,
            }

    def manifest(self) -> Manifest:
        """Of the bundle in force.

        Raises
        ------
        ThresholdChangeError
            If nobody knows which one is, or it cannot be read.
        """
        name = self._name_in_force()
        if self._read is None or self._read[0] != name:
            self._read = (name, self._bundle(name).manifest)
        return self._read[1]

    def set_threshold(self, ok: float, why: str, user: str) -> str:
        """Make a bundle with another threshold and ask for it; the folder's name.

        Where bundles must be signed it is a proposal instead: the name is empty.

        Raises
        ------
        ThresholdChangeError
            If another change is under way, the number means nothing, or nothing can be written.
        """
        if not (math.isfinite(ok) and ok > 0):
            raise ThresholdChangeError(
                f"a threshold of {ok} means nothing; expected a number above 0"
            )
        name = self._name_in_force()
        self._begin()
        try:
            old = self._bundle(name)
            before, band = old.manifest.threshold, old.manifest.threshold.ng
            ng = ok * band / before.ok if before.ok > 0 else ok
            record = by_hand(before, ok, ng)
            log = {"before": {"ok": before.ok, "ng": before.ng, "bundle": name}, "why": why}
            if self._line.trust is not None:
                self._propose(name, ok, ng, why, user)
                self._audit(user, "threshold", {**log, "after": {"proposed": {"ok": ok, "ng": ng}}})
                return ""
            fresh = rethreshold(old, record, self._store, current=False)
            after = {"ok": ok, "ng": ng, "bundle": fresh.folder.name}
            self._audit(user, "threshold", {**log, "after": after})
        except (BundleError, AuditError, OSError) as error:
            raise ThresholdChangeError(str(error)) from error
        finally:
            if self._line.trust is not None:
                self._end()
        return self._ask(name, fresh.folder.name)

    def go_back(self, user: str, why: str) -> str:
        """Ask for the bundle that was in force before the page's last change; its folder's name.

        Raises
        ------
        ThresholdChangeError
            If there is none, or another change is under way.
        """
        now = self._name_in_force()
        previous = self._before[-1] if self._before else Store(self._store).previous
        if previous is None or previous == now:
            raise ThresholdChangeError("no earlier bundle is known")
        self._begin()
        try:
            after = {"bundle": previous}
            self._audit(user, "bundle", {"before": {"bundle": now}, "after": after, "why": why})
        except (AuditError, StoreError, OSError) as error:
            self._end()
            raise ThresholdChangeError(str(error)) from error
        if self._before:
            self._before.pop()
            self._want(previous)
            return previous
        return self._ask(now, previous)

    def _ask(self, now: str, wanted: str) -> str:
        self._before.append(now)
        self._state = {"step": "preparing", "bundle": wanted, "detail": ""}
        self._want(wanted)
        return wanted

    def _begin(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._busy_until:
                raise ThresholdChangeError("another change is under way; wait until it is done")
            self._busy_until = now + _PATIENCE_S

    def _end(self) -> None:
        with self._lock:
            self._busy_until = 0.0

    def _name_in_force(self) -> str:
        label = str(self._live.tree()["bundle"])
        if not label:
            raise ThresholdChangeError("no bundle is in force yet; wait until the line is ready")
        return "-".join(label.rsplit("@", 1))

    def _bundle(self, name: str) -> Bundle:
        try:
            return read_bundle(self._store / name, self._line.trust)
        except BundleError as error:
            raise ThresholdChangeError(str(error)) from error

    def _propose(self, name: str, ok: float, ng: float, why: str, user: str) -> None:
        folder = self._store.parent / PROPOSALS
        folder.mkdir(exist_ok=True)
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        proposal = {"bundle": name, "ok": ok, "ng": ng, "why": why, "who": user, "at": at}
        replace_file(folder / f"{at}-{name}.json", (json.dumps(proposal, indent=1) + "\n").encode())

    def _audit(self, user: str, what: Any, change: dict[str, Any]) -> None:
        audit_of(self._line).write(Who("page", user=user), what, self._line.name, **change)
