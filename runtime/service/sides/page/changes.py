"""Another threshold, what was learnt from reviews, or the bundle before: the line proves each."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kenpin.config.line import Line
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.bundles.layout import MANIFEST, PROPOSALS, folder_name
from kenpin.runtime.bundles.manifest import BundleError, Manifest, parse_manifest
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.bundles.store import StoreError
from kenpin.runtime.service.audit import audit_of
from kenpin.runtime.service.audit_entry import AuditError, Who
from kenpin.runtime.service.inspection.changeover import store_of
from kenpin.runtime.service.sides.page.live import LiveLine

__all__ = ["BundleChanges", "ThresholdChangeError"]

_PATIENCE_S = 180.0
# Learning takes a minute for 50 frames; whatever hangs is given up.
_LEARNING_S = 900.0


class ThresholdChangeError(ValueError):
    """The change cannot be made: says why, and what to do."""


class BundleChanges:
    """One change at a time. Nothing here judges: the gateway proves each bundle first.

    want  asks the gateway for a bundle of the store instead of another, by their folders' names
    """

    def __init__(self, line: Line, live: LiveLine, want: Callable[[str, str], None]) -> None:
        self._line = line
        self._live = live
        self._want = want
        self._store = store_of(line.bundles)
        self._lock = threading.Lock()
        self._busy_until = 0.0
        self._state: dict[str, Any] = {"step": "", "bundle": "", "detail": ""}
        # What the page brought into force and instead of what, folders' names: to go back.
        self._made: list[tuple[str, str]] = []
        # In force when the page asked for the bundle that is being proven; None: it goes back.
        self._asked: str | None = None
        self._read: tuple[str, Manifest] | None = None
        # Manifests of other bundles, only to be compared.
        self._known: dict[str, Manifest] = {}

    # -- told by the gateway ---------------------------------------------------------------

    def changed(self, step: str, bundle: str, detail: str) -> None:
        """How far a bundle has come."""
        with self._lock:
            self._state = {"step": step, "bundle": bundle, "detail": detail}
            if step in ("active", "failed"):
                self._busy_until = 0.0
            if step == "active":
                self._came_into_force(folder_name(bundle))
            self._live.version += 1

    def _came_into_force(self, name: str) -> None:
        if self._asked is not None:
            self._made.append((name, self._asked))
        elif self._made:
            self._made.pop()

    # -- asked by readers ------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """How far the last change has come, and to which bundle there is a way back."""
        with self._lock:
            return {
                **self._state,
                "back": self._way_back(folder_name(str(self._live.tree()["bundle"]))) or "",
                "trust": self._line.trust is not None,
            }

    def in_force(self) -> tuple[str, Manifest]:
        """The folder's name and the manifest of the bundle in force.

        Raises
        ------
        ThresholdChangeError
            If nobody knows which one is, or it cannot be read.
        """
        name = self._name_in_force()
        if self._read is None or self._read[0] != name:
            self._read = (name, self._bundle(name).manifest)
        return self._read

    def alike(self, labels: Iterable[str]) -> list[str]:
        """Those bundles whose scores mean what those of the bundle in force do.

        They differ in their thresholds alone: whoever learns from reviews moves the scores, too.

        Raises
        ------
        ThresholdChangeError
            If nobody knows which bundle is in force, or it cannot be read.
        """
        in_force, now = self.in_force()
        return [label for label in labels if self._alike(label, in_force, now)]

    def _alike(self, label: str, in_force: str, now: Manifest) -> bool:
        name = folder_name(label)
        if name == in_force:
            return True
        if name not in self._known:
            folder = self._store / name
            try:
                self._known[name] = parse_manifest(folder, (folder / MANIFEST).read_bytes())
            except (OSError, BundleError):
                # It is no longer in the store: nobody can say.
                return False
        other = self._known[name]
        return other.model_copy(update={"threshold": now.threshold}) == now

    def set_threshold(self, ok: float, of: str, why: str, user: str) -> str:
        """Make a bundle with another threshold and ask for it; the folder's name.

        Where bundles must be signed it is a proposal instead: the name is empty.

        Parameters
        ----------
        of
            The bundle whose scores were looked at, by its label or folder: no other is changed.

        Raises
        ------
        ThresholdChangeError
            If another bundle is in force or another change under way, the number means nothing,
            or nothing can be written.
        """
        if not (math.isfinite(ok) and ok > 0):
            raise ThresholdChangeError(
                f"a threshold of {ok} means nothing; expected a number above 0"
            )
        name = self._still_in_force(of)
        with self._changing():
            old = self._bundle(name)
            before, band = old.manifest.threshold, old.manifest.threshold.ng
            ng = ok * band / before.ok if before.ok > 0 else ok
            log = {"before": {"ok": before.ok, "ng": before.ng, "bundle": name}, "why": why}
            if self._line.trust is not None:
                self._propose(name, ok, ng, why, user)
                self._audit(user, "threshold", {**log, "after": {"proposed": {"ok": ok, "ng": ng}}})
                self._end()
                return ""
            fresh = rethreshold(old, by_hand(before, ok, ng), self._store, current=False)
            after = {"ok": ok, "ng": ng, "bundle": fresh.folder.name}
            self._audit(user, "threshold", {**log, "after": after})
        return self._ask(name, fresh.folder.name)

    def relearn(self, of: str, why: str, user: str) -> None:
        """Begin to learn from the reviewed frames, in another process; `state` tells how it ends.

        Parameters
        ----------
        of
            As of `set_threshold`.

        Raises
        ------
        ThresholdChangeError
            If another bundle is in force or another change under way, or nothing can have been
            reviewed.
        """
        if self._line.archive is None:
            raise ThresholdChangeError("this line keeps no archive, so nothing was reviewed")
        name = self._still_in_force(of)
        self._begin(_LEARNING_S)
        self._say("learning", name)
        given = (name, self._line.archive.folder, why, user)
        threading.Thread(target=self._learn, args=given, daemon=True).start()

    def _learn(self, name: str, archive: Path, why: str, user: str) -> None:
        trust = self._line.trust
        folders = [self._store, name, archive, *([trust] if trust else [])]
        command = [sys.executable, "-m", "kenpin.runtime.service.relearn", *map(str, folders)]
        try:
            # The page's own process computes nothing: readers would wait.
            done = subprocess.run(command, capture_output=True, timeout=_LEARNING_S, check=False)
            answer = _answer(done)
            if "error" in answer:
                raise ThresholdChangeError(answer["error"])
            after = answer["after"]
            change = {"before": {"bundle": name}, "after": after, "why": why}
            self._audit(user, "bundle", change, ": learnt")
        except (subprocess.TimeoutExpired, ThresholdChangeError, AuditError, OSError) as error:
            self._end()
            self._say("refused", name, str(error))
            return
        if "refused" in after:
            self._end()
            self._say("refused", name, "; ".join(after["refused"]))
        elif trust is not None:
            self._end()
            self._say("proposed", after["bundle"])
        else:
            self._ask(name, after["bundle"])

    def _say(self, step: str, bundle: str, detail: str = "") -> None:
        with self._lock:
            self._state = {"step": step, "bundle": bundle, "detail": detail}
            self._live.version += 1

    def _way_back(self, now: str) -> str | None:
        """What the page's last change took away; None if something else is in force since."""
        return self._made[-1][1] if self._made and self._made[-1][0] == now else None

    def go_back(self, to: str, user: str, why: str) -> str:
        """Ask for the bundle that was in force before the page's last change; its folder's name.

        Parameters
        ----------
        to
            What whoever asks takes it for.

        Raises
        ------
        ThresholdChangeError
            If there is none, it is another, or another change is under way.
        """
        now = self._name_in_force()
        previous = self._way_back(now)
        if previous is None:
            raise ThresholdChangeError(
                f"{now} is in force, and this page has not changed it; choose a bundle with "
                "edge-run bundles use"
            )
        if to != previous:
            raise ThresholdChangeError(f"back from {now} is {previous}, not {to}; look again")
        with self._changing():
            after = {"bundle": previous}
            change = {"before": {"bundle": now}, "after": after, "why": why}
            self._audit(user, "bundle", change, ": asked back")
        return self._ask(now, previous, back=True)

    def _ask(self, now: str, wanted: str, *, back: bool = False) -> str:
        with self._lock:
            self._asked = None if back else now
        self._say("preparing", wanted)
        self._want(wanted, now)
        return wanted

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The one change under way; what fails does not stand in the way of the next."""
        self._begin()
        try:
            yield
        except (BundleError, StoreError, AuditError, OSError) as error:
            self._end()
            raise ThresholdChangeError(str(error)) from error
        except BaseException:
            self._end()
            raise

    def _begin(self, patience_s: float = _PATIENCE_S) -> None:
        with self._lock:
            now = time.monotonic()
            if now < self._busy_until:
                raise ThresholdChangeError("another change is under way; wait until it is done")
            self._busy_until = now + patience_s

    def _end(self) -> None:
        with self._lock:
            self._busy_until = 0.0

    def _name_in_force(self) -> str:
        label = str(self._live.tree()["bundle"])
        if not label:
            raise ThresholdChangeError("no bundle is in force yet; wait until the line is ready")
        return folder_name(label)

    def _still_in_force(self, of: str) -> str:
        """Its folder's name, if what somebody looked at is what runs."""
        name = self._name_in_force()
        if folder_name(of) != name:
            raise ThresholdChangeError(
                f"{name} came into force since, and this was chosen for {folder_name(of)}; look at "
                "its scores and begin again"
            )
        return name

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

    def _audit(self, user: str, what: Any, change: dict[str, Any], more: str = "") -> None:
        # What the line's name alone stands for is what came into force, and the service's to say.
        item = f"{self._line.name}{more}"
        audit_of(self._line).write(Who("page", user=user), what, item, **change)


def _answer(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """What the process that learns said last; its complaint if it said nothing."""
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise ThresholdChangeError(f"learning ended with {done.returncode}: {last[0]}") from None
    return answer
