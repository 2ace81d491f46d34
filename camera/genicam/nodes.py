"""A camera's node map as features by name. One thread only: two deadlock in the binding."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from genicam import genapi, gentl

from kenpin.camera.genicam.features import FeatureRefusedError
from kenpin.camera.source import CameraError
from kenpin.config.camera import FeatureValue

__all__ = ["Nodes"]

_ERRORS = (genapi.GenericException, gentl.GenericException)
# What has a value or does something. A category may bear the name of a number: in old
# cameras Gain holds GainRaw and GainAuto.
_FEATURES = (
    genapi.IInteger,
    genapi.IFloat,
    genapi.IBoolean,
    genapi.IEnumeration,
    genapi.IString,
    genapi.ICommand,
)
_ACCESS = {
    genapi.EAccessMode.NI: "this camera does not have it",
    genapi.EAccessMode.NA: "it is not available just now: another setting rules it",
    genapi.EAccessMode.RO: "it can only be read just now: another setting locks it",
    genapi.EAccessMode.WO: "it can only be written",
}


class Nodes:
    """The features of one camera; see `features.FeaturePort`.

    Raises
    ------
    CameraError
        From every call, if the camera no longer answers.
    """

    def __init__(self, node_map: Any) -> None:
        self._map = node_map
        self._thread = threading.get_ident()

    def names(self) -> list[str]:
        """All features with a value, and commands, whether available now or not."""
        return [node.node.name for node in self._map.nodes if isinstance(node, _FEATURES)]

    def has(self, name: str) -> bool:
        """Whether the camera has it at all, perhaps not just now."""
        return self._access(name) not in (None, genapi.EAccessMode.NI)

    def holds(self, name: str) -> tuple[str, ...]:
        """What lies in it, if it is a category in this camera; else empty."""
        node = self._map.get_node(name) if self._map.has_node(name) else None
        if not isinstance(node, genapi.ICategory):
            return ()
        return tuple(inner.node.name for inner in node.features)

    def ready(self, name: str) -> bool:
        """Whether it has a value just now."""
        return self._access(name) in (genapi.EAccessMode.RO, genapi.EAccessMode.RW)

    def is_command(self, name: str) -> bool:
        """Whether it does something rather than have a value."""
        return isinstance(self._node(name), genapi.ICommand)

    def read(self, name: str) -> FeatureValue:
        """From the camera itself, not from the cache of what was written."""
        node = self._feature(name)
        try:
            node.node.invalidate_node()
            if isinstance(node, genapi.ICommand):
                return True
            value: FeatureValue = node.value
            return value
        except _ERRORS as error:
            raise self._verdict(name, error) from error

    def write(self, name: str, value: FeatureValue) -> None:
        """Write a value; a command is executed."""
        node = self._feature(name)
        try:
            if isinstance(node, genapi.ICommand):
                node.execute()
            elif isinstance(node, genapi.IEnumeration | genapi.IString):
                node.value = str(value)
            elif isinstance(node, genapi.IFloat):
                node.value = float(value)
            elif isinstance(node, genapi.IInteger):
                node.value = _whole(value)
            else:
                node.value = value
        except (TypeError, ValueError) as error:
            raise FeatureRefusedError(f"{value!r} is no value for it ({error})") from error
        except _ERRORS as error:
            raise self._verdict(name, error) from error

    def execute(self, name: str) -> None:
        """Execute a command."""
        self.write(name, True)

    def lowest(self, name: str) -> FeatureValue:
        """The smallest value that it may have just now."""
        node = self._feature(name)
        try:
            value: FeatureValue = node.min
            return value
        except _ERRORS as error:
            raise self._verdict(name, error) from error

    def offers(self, name: str) -> tuple[str, ...]:
        """The entries that it may have just now; empty if it is no choice."""
        node = self._feature(name)
        if not isinstance(node, genapi.IEnumeration):
            return ()
        try:
            return tuple(
                entry.symbolic
                for entry in node.entries
                if entry.get_access_mode() not in (genapi.EAccessMode.NI, genapi.EAccessMode.NA)
            )
        except _ERRORS as error:
            raise self._verdict(name, error) from error

    def unit(self, name: str) -> str:
        """Of its number, as the camera's description says; empty if it does not."""
        node = self._feature(name)
        if not isinstance(node, genapi.IInteger | genapi.IFloat):
            return ""
        try:
            return str(node.unit).strip()
        except _ERRORS as error:
            raise self._verdict(name, error) from error

    def limits(self, name: str) -> str:
        """What may be written, for people."""
        node = self._feature(name)
        try:
            if isinstance(node, genapi.IEnumeration):
                return "it offers " + (", ".join(self.offers(name)) or "nothing just now")
            if isinstance(node, genapi.IInteger):
                return f"{node.min} to {node.max} in steps of {node.inc} {node.unit}".rstrip()
            if isinstance(node, genapi.IFloat):
                return f"{node.min:g} to {node.max:g} {node.unit}".rstrip()
        except _ERRORS as error:
            raise self._verdict(name, error) from error
        return "no limits known"

    def _access(self, name: str) -> int | None:
        """How it can be had just now; None if there is nothing of this name with a value."""
        if not self._map.has_node(name):
            return None
        node = self._node(name)
        if not isinstance(node, _FEATURES):
            return None
        try:
            return int(node.get_access_mode())
        except _ERRORS as error:
            verdict = self._verdict(name, error)
            if isinstance(verdict, CameraError):
                raise verdict from error
            return int(genapi.EAccessMode.NA)  # its description is at odds with itself

    def _feature(self, name: str) -> Any:
        node = self._node(name)
        if isinstance(node, _FEATURES):
            return node
        raise FeatureRefusedError(f"{name} has no value in this camera")

    def _node(self, name: str) -> Any:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                f"{name} was asked for from a second thread; two threads on one node map hang the "
                "process for ever: send the question to the thread that opened the camera"
            )
        try:
            return self._map.get_node(name)
        except genapi.GenericException as error:
            raise FeatureRefusedError("the camera has no feature of this name") from error

    def _verdict(self, name: str, error: Exception) -> Exception:
        """A refusal concerns one feature; a camera that does not answer is lost."""
        text = str(error).strip() or type(error).__name__
        # What GenApi raises of its own accord is about the value or the description.
        # What the port raised comes through as GenTL's, or as GenApi's time-out.
        own = isinstance(error, genapi.GenericException)
        if own and not isinstance(error, genapi.TimeoutException):
            return FeatureRefusedError(self._reason(name, text))
        refused = (
            gentl.AccessDeniedException,
            gentl.InvalidValueException,
            gentl.InvalidParameterException,
        )
        if isinstance(error, refused):
            return FeatureRefusedError(text.split(" : ")[0])
        return CameraError(
            f"{name}: the camera does not answer ({type(error).__name__}: {text.split(' : ')[0]})"
        )

    def _reason(self, name: str, text: str) -> str:
        """GenApi's words without its own whereabouts; what it keeps quiet about is asked."""
        words = [part for part in text.split(" : ") if " thrown in node " not in part]
        said = " ".join(part for part in words if not part.startswith("Feature '"))
        said = said or text
        if "writable" in said or "readable" in said:
            with suppress(*_ERRORS):
                said = _ACCESS.get(int(self._map.get_node(name).get_access_mode()), said)
        return said.rstrip(".")


def _whole(value: FeatureValue) -> int:
    number = int(value)
    if number != float(value):
        raise ValueError("it takes whole numbers")
    return number
