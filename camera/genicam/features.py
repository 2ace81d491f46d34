"""Settings written to a camera and read back, until it is as asked or nothing helps any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kenpin.camera.genicam.names import nearest
from kenpin.camera.source import CameraError
from kenpin.config.camera import FeatureValue

__all__ = ["FeatureError", "FeaturePort", "FeatureRefusedError", "FeatureStep", "configure"]


class FeatureError(CameraError):
    """The camera will not be as its settings say: a person must look at it."""


class FeatureRefusedError(Exception):
    """The camera did not take a value, or has no such feature; the text says why."""


class FeaturePort(Protocol):
    """A camera's features by name, as `nodes.py` offers them."""

    def names(self) -> Iterable[str]:
        """All features with a value, and commands."""
        ...

    def has(self, name: str) -> bool:
        """Whether the camera has it at all, perhaps not just now."""
        ...

    def holds(self, name: str) -> tuple[str, ...]:
        """What lies in it, if it is a category in this camera; else empty."""
        ...

    def ready(self, name: str) -> bool:
        """Whether it has a value just now."""
        ...

    def is_command(self, name: str) -> bool:
        """Whether it does something rather than have a value."""
        ...

    def read(self, name: str) -> FeatureValue:
        """Its value now, from the camera itself."""
        ...

    def write(self, name: str, value: FeatureValue) -> None:
        """Raises FeatureRefusedError if the camera does not take it."""
        ...

    def lowest(self, name: str) -> FeatureValue:
        """The smallest value that it may have just now."""
        ...

    def offers(self, name: str) -> tuple[str, ...]:
        """The entries that it may have just now; empty if it is no choice."""
        ...

    def unit(self, name: str) -> str:
        """Of its number, as the camera's description says; empty if it does not."""
        ...

    def limits(self, name: str) -> str:
        """What may be written, for people: range and step, or the entries."""
        ...


@dataclass(frozen=True)
class FeatureStep:
    """One feature to write.

    selectors  written before it, and again before it is read back
    lowest     write the smallest value there is, to make room for a later step;
               not read back
    optional   passed over if the camera has no such feature; if it has, and can be
               read, it must be as asked all the same
    unable     why it cannot be written at all, if it cannot
    """

    name: str
    value: FeatureValue
    selectors: dict[str, FeatureValue] = field(default_factory=dict)
    lowest: bool = False
    optional: bool = False
    unable: str = ""

    @property
    def label(self) -> str:
        """For people."""
        chosen = ", ".join(str(value) for value in self.selectors.values())
        return f"{self.name}[{chosen}]" if chosen else self.name


# A camera whose faults still change after so many turns is moved by something else.
_TURNS = 12


def configure(
    port: FeaturePort, steps: Callable[[FeaturePort], Sequence[FeatureStep]], tolerance: float
) -> None:
    """Write all steps, read every one back, and again while that changes anything.

    What one feature may be depends on others, in an order that no standard
    fixes: what is refused in the first turn may be taken in the second. Commands
    are executed once. Only while the camera is stopped: running, it refuses
    what changes its frames.

    Parameters
    ----------
    steps
        What there is to write, given what the camera offers at that moment.
    tolerance
        How far a float may be rounded by the camera, as a share of what was
        asked. Everything else must be exact.

    Raises
    ------
    FeatureError
        Naming every feature that was refused or is not as asked, with what was
        asked, why it was refused, what the camera has, and what it would take.
    """
    done: set[str] = set()
    faults: list[str] = []
    for _ in range(_TURNS):
        before, faults = faults, _turn(port, steps(port), tolerance, done)
        if not faults or faults == before:
            break
    if faults:
        raise FeatureError(
            "the camera is not as its settings ask: " + "; ".join(faults) + "; correct the "
            "settings, or the camera"
        )


def _turn(
    port: FeaturePort, steps: Sequence[FeatureStep], tolerance: float, done: set[str]
) -> list[str]:
    """Write all and read all back; what is wrong with any of them."""
    refused: dict[str, str] = {}
    for step in steps:
        try:
            _write(port, step, done)
        except FeatureRefusedError as refusal:
            refused[step.label] = str(refusal)
    # Only now: a later step may have moved an earlier one.
    faults = (_fault(port, step, tolerance, refused.get(step.label, "")) for step in steps)
    return [fault for fault in faults if fault]


def _write(port: FeaturePort, step: FeatureStep, done: set[str]) -> None:
    if step.unable:
        raise FeatureRefusedError(step.unable)
    if not port.has(step.name):
        if step.optional:
            return
        raise FeatureRefusedError(_unknown(port, step.name))
    _choose(port, step)
    if port.is_command(step.name):
        _execute(port, step, done)
    else:
        port.write(step.name, port.lowest(step.name) if step.lowest else step.value)


def _choose(port: FeaturePort, step: FeatureStep) -> None:
    for name, value in step.selectors.items():
        if not port.has(name):
            raise FeatureRefusedError(f"its selector {name}: {_unknown(port, name)}")
        try:
            port.write(name, value)
        except FeatureRefusedError as refusal:
            raise FeatureRefusedError(
                f"its selector {name} = {value}: {refusal}{_as_it_is(port, name)}"
            ) from refusal


def _execute(port: FeaturePort, step: FeatureStep, done: set[str]) -> None:
    if not isinstance(step.value, bool):
        raise FeatureRefusedError("it is a command: true executes it, false does not")
    if step.value and step.label not in done:
        port.write(step.name, True)
        done.add(step.label)


def _fault(port: FeaturePort, step: FeatureStep, tolerance: float, refusal: str) -> str:
    """What is wrong with a feature after all were written; empty if nothing is."""
    plain = f"{step.label} = {step.value}: refused, {refusal}"
    if step.lowest or (step.optional and not port.has(step.name)):
        return ""
    if step.unable or not port.has(step.name):
        return plain
    if port.is_command(step.name):
        return plain if refusal else ""
    try:
        _choose(port, step)
        found = port.read(step.name)
    except FeatureRefusedError as unreadable:
        if step.optional:
            return ""
        return plain if refusal else f"{step.label} cannot be read back: {unreadable}"
    if _same(step.value, found, tolerance):
        return ""
    if refusal:
        return plain + _as_it_is(port, step.name)
    allowed = port.limits(step.name)
    return f"{step.label}: asked for {step.value}, the camera says {found} ({allowed})"


def _as_it_is(port: FeaturePort, name: str) -> str:
    """The value that a feature keeps and what it offers, behind the reason of a refusal."""
    try:
        return f"; the camera has {port.read(name)} ({port.limits(name)})"
    except FeatureRefusedError:
        return ""


def _unknown(port: FeaturePort, name: str) -> str:
    held = port.holds(name)
    if held:
        return f"it is a category in this camera and has no value; it holds {', '.join(held)}"
    close = nearest(name, port.names())
    hint = f"; the nearest that it has: {', '.join(close)}" if close else ""
    return f"the camera has no feature of this name{hint}"


def _same(asked: FeatureValue, found: FeatureValue, tolerance: float) -> bool:
    numbers = isinstance(asked, int | float) and isinstance(found, float)
    if numbers and not isinstance(asked, bool):
        return abs(float(found) - float(asked)) <= tolerance * abs(float(asked))
    if isinstance(asked, str) or isinstance(found, str):
        return str(asked) == str(found)
    return asked == found
