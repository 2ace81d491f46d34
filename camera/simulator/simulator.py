"""A simulated camera with everything around it: compiled, its environment set, under control."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kenpin.camera.simulator.build import build
from kenpin.camera.simulator.control import Control, SimulatorError, SimulatorGoneError
from kenpin.camera.simulator.script import Script, momentary

__all__ = ["Simulator"]

VARIABLES = ("KENPINSIM_CONTROL", "KENPINSIM_SCRIPT", "KENPINSIM_COMMANDS")


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
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="kenpinsim-"))
        self.control_path = self.directory / "control"
        self.cti = Path(cti) if cti is not None else build(self.directory)
        self._script = Script(self.directory / "script")
        self._connections: dict[Path, Control] = {}
        self._before: dict[str, str | None] = {}
        for command in commands:
            self._script.remember(command)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to meet this camera."""
        return {
            "KENPINSIM_CONTROL": str(self.control_path),
            "KENPINSIM_SCRIPT": str(self._script.path),
        }

    def tell(self, command: str) -> str:
        """Obeyed by every process that has the camera loaded; the answer of the one that opened it.

        Raises
        ------
        SimulatorError
            If the camera refuses the command. If no process has it loaded, a lasting command is
            kept for the next one; a momentary one raises.
        """
        # Written before it is told: a process that loads the producer meanwhile reads it.
        self._script.remember(command)
        answers: dict[bool, str] = {}
        for control, status in self._loaded():
            try:
                answers[bool(status["open"])] = control.tell(command)
            except SimulatorGoneError:
                continue  # its process ended between the two questions
            except SimulatorError:
                self._script.forget()
                raise
        if not answers and momentary(command):
            raise SimulatorGoneError(f"{command!r}: no process has the camera loaded")
        return answers.get(True, answers.get(False, ""))

    def status(self, camera: int = 0) -> dict[str, Any]:
        """The status of the camera where it is open; of any process that loaded it otherwise."""
        found: dict[bool, dict[str, Any]] = {}
        for _, status in self._loaded(camera):
            found[bool(status["open"])] = status
        if not found:
            raise SimulatorGoneError(f"{self.control_path}: no process has the camera loaded")
        return found.get(True, found.get(False, {}))

    def wait(self, *, camera: int = 0, timeout_s: float = 10.0, **wanted: Any) -> None:
        """Until the status says so, e.g. wait(acquiring=True, open=True).

        Raises
        ------
        SimulatorError
            If it does not within `timeout_s`.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                status = self.status(camera)
            except SimulatorGoneError:
                status = {}
            seen = {key: status.get(key) for key in wanted}
            if seen == wanted:
                return
            if time.monotonic() > end:
                raise SimulatorError(f"waited {timeout_s} s for {wanted}, the camera says {seen}")
            time.sleep(0.005)

    def _loaded(self, camera: int = 0) -> Iterator[tuple[Control, dict[str, Any]]]:
        """Every producer that answers now. A socket of a process that ended is removed."""
        for path in [self.control_path, *sorted(self.directory.glob("control.[0-9]*"))]:
            # Twice: another process may serve a socket where one has ended.
            for _ in range(2):
                control = self._connections.get(path) or self._connect(path)
                if control is None:
                    break
                try:
                    status = control.status(camera)
                except SimulatorGoneError:
                    control.close()
                    del self._connections[path]
                    continue
                yield control, status
                break

    def _connect(self, path: Path) -> Control | None:
        if not path.exists():
            return None
        try:
            self._connections[path] = Control(path)
        except SimulatorGoneError:
            if path != self.control_path:
                path.unlink(missing_ok=True)
            return None
        return self._connections[path]

    def __enter__(self) -> Self:
        self._before = {name: os.environ.pop(name, None) for name in VARIABLES}
        os.environ.update(self.environment)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        for control in self._connections.values():
            control.close()
        self._connections.clear()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
