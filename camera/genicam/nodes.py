"""A camera's node map as features by name. One thread only: two deadlock in the binding."""

from __future__ import annotations

import threading
from typing import Any

from genicam import genapi, gentl

from kenpin.camera.genicam.features import FeatureRefusedError
from kenpin.camera.source import CameraError
from kenpin.config.camera import FeatureValue

__all__ = ["Nodes"]


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

    def has(self, name: str) -> bool:
        """Whether the camera has it, and has it now."""
        return bool(self._map.has_node(name)) and self._node(name).get_access_mode() not in (
            genapi.EAccessMode.NI,
            genapi.EAccessMode.NA,
        )

    def read(self, name: str) -> FeatureValue:
        """From the camera itself, not from the cache of what was written."""
        node = self._node(name)
        try:
            node.node.invalidate_node()
            if isinstance(node, genapi.ICommand):
                return True
            value: FeatureValue = node.value
            return value
        except (genapi.GenericException, gentl.GenericException) as error:
            raise self._verdict(name, error) from error

    def write(self, name: str, value: FeatureValue) -> None:
        """Write a value; a command is executed."""
        node = self._node(name)
        try:
            if isinstance(node, genapi.ICommand):
                node.execute()
            elif isinstance(node, genapi.IEnumeration | genapi.IString):
                node.value = str(value)
            elif isinstance(node, genapi.IFloat):
                node.value = float(value)
            elif isinstance(node, genapi.IInteger):
                node.value = int(value)
            else:
                node.value = value
        except (TypeError, ValueError) as error:
            raise FeatureRefusedError(f"{value!r} is no value for it ({error})") from error
        except (genapi.GenericException, gentl.GenericException) as error:
            raise self._verdict(name, error) from error

    def execute(self, name: str) -> None:
        """Execute a command."""
        self.write(name, True)

    def lowest(self, name: str) -> FeatureValue:
        """The smallest value that it may have just now."""
        node = self._node(name)
        try:
            value: FeatureValue = node.min
            return value
        except (genapi.GenericException, gentl.GenericException) as error:
            raise self._verdict(name, error) from error

    def limits(self, name: str) -> str:
        """What may be written, for people."""
        node = self._node(name)
        try:
            if isinstance(node, genapi.IEnumeration):
                return "it offers " + ", ".join(node.symbolics)
            if isinstance(node, genapi.IInteger):
                return f"{node.min} to {node.max} in steps of {node.inc}"
            if isinstance(node, genapi.IFloat):
                return f"{node.min:g} to {node.max:g} {node.unit}".rstrip()
        except (genapi.GenericException, gentl.GenericException) as error:
            raise self._verdict(name, error) from error
        return "no limits known"

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
        text = str(error).split(" : ")[0].strip() or type(error).__name__
        # What GenApi raises of its own accord is about the value. What the port
        # raised comes through as GenTL's, or as GenApi's time-out.
        refused = (
            genapi.AccessException,
            genapi.OutOfRangeException,
            genapi.InvalidArgumentException,
            genapi.LogicalErrorException,
            gentl.AccessDeniedException,
            gentl.InvalidValueException,
            gentl.InvalidParameterException,
        )
        if isinstance(error, refused):
            return FeatureRefusedError(text)
        return CameraError(f"{name}: the camera does not answer ({type(error).__name__}: {text})")
