"""A simulated camera with everything around it: compiled, its environment set, under control."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kenpin.camera.simulator.build import build
from kenpin.camera.simulator.control import Control, SimulatorError

__all__ = ["Simulator"]

# These act once, or only answer: telling them again to the next process would act twice.
MOMENTARY = frozenset({"error", "get", "part", "set", "status", "trigger"})
ONCE_UNLESS_ALWAYS = frozenset({"busy_revoke", "drop", "incomplete", "start_fails"})
OF_A_FEATURE = frozenset({"default", "keep", "obey", "refuse", "round"})
CONNECT_PATIENCE_S = 10.0


class Simulator:
    """The environment in which any process that loads `cti` meets the same simulated camera.

    Use it as a context manager. Inside, `os.environ` points the producer to this simulator, so
    this process and every child it starts see it. `tell` reaches all processes that have the
    producer loaded, and writes lasting commands to a script that later ones obey when they load
    it: a camera that was lost before the acquisition process was restarted is still lost after.

    commands   obeyed before the camera is opened, e.g. "sensor_width 1024", "default Height 64"
    cti        an already built producer; otherwise it is built in `directory`
    directory  where socket, script and producer lie; a temporary one if not given. A Unix
               socket's path may have 95 characters
    """

    def __init__(
        self,
        commands: Iterable[str] = (),
        *,
        cti: Path | str | None = None,
        directory: Path | str | None = None,
    ) -> None:
        self._given = directory is not None
        self.directory = Path(directory if directory else tempfile.mkdtemp(prefix="kenpinsim-"))
        self.control_path = self.directory / "control"
        self.script_path = self.directory / "script"
        self.cti = Path(cti) if cti is not None else build(self.directory)
        self._script: dict[str, str] = {}
        self._connections: dict[Path, Control] = {}
        self._before: dict[str, str | None] = {}
        for command in commands:
            self._remember(command)
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to meet this camera."""
        return {
            "KENPINSIM_CONTROL": str(self.control_path),
            "KENPINSIM_SCRIPT": str(self.script_path),
        }

    def _remember(self, command: str) -> None:
        camera, _, words = (
            command.partition(" ") if command.startswith("@") else ("@0", "", command)
        )
        word, _, rest = words.strip().partition(" ")
        if word in MOMENTARY or (word in ONCE_UNLESS_ALWAYS and "always" not in rest):
            return
        key = f"{camera} {word}"
        if word in OF_A_FEATURE:
            group = "default" if word == "default" else "write"
            key = f"{camera} {group} {rest.partition(' ')[0]}"
        elif word in ("lost", "back"):
            key = f"{camera} lost"
        elif word in ("stall", "freeze", "resume"):
            key = f"{camera} flow"
        elif word == "clear":
            # `clear` lets go of every fault; what the camera is stays as it was told.
            for known in [k for k in self._script if k.startswith(f"{camera} ")]:
                if known.split()[1] in FAULTS:
                    del self._script[known]
            return
        self._script.pop(key, None)
        self._script[key] = f"{camera} {words.strip()}"

    def _write(self) -> None:
        fresh = self.script_path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in self._script.values()))
        fresh.replace(self.script_path)

    def _connect(self) -> list[Control]:
        """Every producer that listens now; sockets that nobody serves any more are removed."""
        paths = [self.control_path, *sorted(self.directory.glob("control.*"))]
        for path in paths:
            if path in self._connections or ".owner" in path.name or not path.exists():
                continue
            try:
                self._connections[path] = Control(path)
            except SimulatorError:
                path.unlink(missing_ok=True)
        return list(self._connections.values())

    def _forget(self, control: Control) -> None:
        control.close()
        self._connections.pop(control.path, None)

    def tell(self, command: str, *, lasting: bool = True) -> str:
        """Obeyed by every process that has the camera loaded; the answer of the one that opened it.

        Raises
        ------
        SimulatorError
            If the camera refuses the command. No process having it loaded is no error for a
            lasting command: the next one obeys it when it loads the producer.
        """
        answer, answered, refusal = "", False, None
        for control in self._connect():
            try:
                found = control.tell(command)
                opened = control.status()["open"]
            except SimulatorError as error:
                if "went away" in str(error) or "not answered" in str(error):
                    self._forget(control)
                    continue
                refusal = error
                continue
            if opened or not answered:
                answer, answered = found, True
        if not answered and refusal is not None:
            raise refusal
        before = dict(self._script)
        if lasting:
            self._remember(command)
            self._write()
        if not answered and self._script == before and self._momentary(command):
            raise SimulatorError(f"{command!r}: no process has the camera loaded")
        return answer

    def _momentary(self, command: str) -> bool:
        words = command.split()
        word = words[1] if command.startswith("@") and len(words) > 1 else words[0]
        return word in MOMENTARY or (word in ONCE_UNLESS_ALWAYS and "always" not in words)

    def status(self, camera: int = 0) -> dict[str, Any]:
        """The status of the camera where it is open; of any process that loaded it otherwise."""
        found: dict[str, Any] | None = None
        for control in self._connect():
            try:
                status = control.status(camera)
            except SimulatorError:
                self._forget(control)
                continue
            if found is None or status["open"]:
                found = status
        if found is None:
            raise SimulatorError(f"{self.control_path}: no process has the camera loaded")
        return found

    def wait(
        self, *, camera: int = 0, timeout_s: float = CONNECT_PATIENCE_S, **wanted: Any
    ) -> None:
        """Until the status says so, e.g. wait(acquiring=True, open=True).

        Raises
        ------
        SimulatorError
            If it does not within `timeout_s`.
        """
        end = time.monotonic() + timeout_s
        status: dict[str, Any] = {}
        while time.monotonic() < end:
            try:
                status = self.status(camera)
            except SimulatorError:
                status = {}
            if status and all(status[key] == value for key, value in wanted.items()):
                return
            time.sleep(0.005)
        seen = {key: status.get(key) for key in wanted}
        raise SimulatorError(f"waited {timeout_s} s for {wanted}, the camera says {seen}")

    def __enter__(self) -> Self:
        for name in ("KENPINSIM_CONTROL", "KENPINSIM_SCRIPT", "KENPINSIM_COMMANDS"):
            self._before[name] = os.environ.get(name)
        os.environ.pop("KENPINSIM_COMMANDS", None)
        os.environ.update(self.environment)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for control in list(self._connections.values()):
            self._forget(control)
        if not self._given:
            shutil.rmtree(self.directory, ignore_errors=True)


FAULTS = frozenset(
    "busy_revoke delay drop flow height incomplete jitter open padding partial_incomplete "
    "payload pixel_format slow_registers slow_stop start_fails width write xml".split()
)
