"""The methods of a VisionSystem: what a client gave is read, and what it gets is put together."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asyncua import ua

from kenpin.runtime.bridges.opcua.access import CALLER
from kenpin.runtime.bridges.opcua.dialogue import MethodError, OpcuaDialogue
from kenpin.runtime.bridges.opcua.vision_system import Method, VisionSystem

__all__ = ["methods_of"]

_V = ua.VariantType
_PREPARED = 1
_Work = Callable[..., Awaitable[list[ua.Variant]]]


def methods_of(
    dialogue: OpcuaDialogue, system: VisionSystem, failed: Callable[[Exception], None]
) -> Mapping[str, Method]:
    """All of them by name; `failed` hears of mistakes of our own."""
    made = _Methods(dialogue, system)
    given: Mapping[str, tuple[_Work, int]] = {
        "Reset": (made.reset, 2),
        "Halt": (made.not_offered, 2),
        "SelectModeAutomatic": (made.select, 0),
        "StartSingleJob": (made.start_single, 5),
        "StartContinuous": (made.start_continuous, 5),
        "Stop": (made.end_job, 2),
        "Abort": (made.end_job, 2),
        "GetRecipeListFiltered": (made.list_recipes, 6),
        "PrepareRecipe": (made.prepare, 2),
        "UnprepareRecipe": (made.unprepare, 2),
        "GetResultById": (made.result, 2),
        "GetResultComponentsById": (made.components, 2),
        "GetResultListFiltered": (made.list_results, 12),
        "OpenSession": (made.open_session, 1),
        "Acknowledge": (made.acknowledge, 1),
        "ActivateRecipe": (made.activate, 1),
    }
    return {name: _served(work, count, failed) for name, (work, count) in given.items()}


def _served(
    work: _Work,
    count: int,
    failed: Callable[[Exception], None],
) -> Method:
    async def serve(_parent: ua.NodeId, *given: ua.Variant) -> Any:
        if len(given) != count:
            few = len(given) < count
            missing, many = (
                ua.StatusCodes.BadArgumentsMissing, ua.StatusCodes.BadTooManyArguments,
            )  # fmt: skip
            return ua.StatusCode(missing if few else many)
        try:
            return await work(*(variant.Value for variant in given))
        except Exception as error:
            failed(error)
            raise

    return serve


def _id(value: Any) -> str:
    """Of one of the specification's id structures; empty if there is none."""
    found = value if isinstance(value, str) else getattr(value, "Id", None)
    return found.strip() if isinstance(found, str) else ""


def _error(number: int) -> ua.Variant:
    return ua.Variant(int(number), _V.Int32)


class _Methods:
    def __init__(self, dialogue: OpcuaDialogue, system: VisionSystem) -> None:
        self._dialogue = dialogue
        self._system = system

    # -- the state machine ---------------------------------------------------------------------

    async def reset(self, _cause: Any, _description: Any) -> list[ua.Variant]:
        return [_error(await self._dialogue.reset(CALLER.get()))]

    async def not_offered(self, _cause: Any, _description: Any) -> list[ua.Variant]:
        # A line is halted by whoever runs the service.
        return [_error(MethodError.NOT_OFFERED)]

    async def select(self) -> list[ua.Variant]:
        # The line goes there by itself, as soon as it can.
        well = self._dialogue.line.well(time.monotonic_ns())
        return [_error(0 if well else MethodError.FAILED)]

    async def start_single(
        self, meas: Any, part: Any, recipe: Any, _product: Any, _parameters: Any
    ) -> list[ua.Variant]:
        trig, error = await self._dialogue.start_job(
            CALLER.get(), _id(meas), _id(part), _id(recipe)
        )
        return [self._system.job(self._dialogue.job(trig) if trig else ""), _error(error)]

    async def start_continuous(
        self, _meas: Any, _part: Any, _recipe: Any, _product: Any, _parameters: Any
    ) -> list[ua.Variant]:
        error = await self._dialogue.start_continuous(CALLER.get())
        return [self._system.job("" if error else self._dialogue.job(None)), _error(error)]

    async def end_job(self, _cause: Any, _description: Any) -> list[ua.Variant]:
        return [_error(await self._dialogue.end_job(CALLER.get()))]

    # -- recipes -------------------------------------------------------------------------------

    async def list_recipes(
        self, external: Any, _product: Any, prepared: Any, most: Any, start: Any, _timeout: Any
    ) -> list[ua.Variant]:
        found = self._dialogue.recipes
        if _id(external):
            found = [label for label in found if label == _id(external)]
        if prepared in (0, _PREPARED):
            ready = {self._dialogue.line.bundle, self._dialogue.prepared}
            found = [label for label in found if (label in ready) == (prepared == _PREPARED)]
        portion, whole = _portion(found, most, start)
        recipes = [self._system.recipe(label)[0] for label in portion]
        return [
            ua.Variant(whole, _V.Boolean), ua.Variant(len(portion), _V.UInt32),
            ua.Variant(0, _V.UInt32),
            ua.Variant(recipes, _V.ExtensionObject, is_array=True), _error(0),
        ]  # fmt: skip

    async def prepare(self, external: Any, internal: Any) -> list[ua.Variant]:
        label = _id(internal) or _id(external)
        error = await self._dialogue.prepare(CALLER.get(), label)
        recipe, kind = self._system.recipe("" if error else label)
        done = not error and self._dialogue.prepared == label
        return [ua.Variant(recipe, kind), ua.Variant(done, _V.Boolean), _error(error)]

    async def unprepare(self, _external: Any, _internal: Any) -> list[ua.Variant]:
        # What was prepared is let go of by the next PREPARE.
        recipe, kind = self._system.recipe("")
        return [ua.Variant(recipe, kind), _error(MethodError.NOT_OFFERED)]

    async def activate(self, internal: Any) -> list[ua.Variant]:
        return [_error(await self._dialogue.activate(CALLER.get(), _id(internal)))]

    # -- results -------------------------------------------------------------------------------

    async def result(self, named: Any, _timeout: Any) -> list[ua.Variant]:
        found = self._dialogue.found(_id(named))
        error = 0 if found is not None else MethodError.UNKNOWN
        result = ua.Variant(self._system.result(found), _V.ExtensionObject)
        return [ua.Variant(0, _V.UInt32), result, _error(error)]

    async def components(self, named: Any, _timeout: Any) -> list[ua.Variant]:
        found = self._dialogue.found(_id(named))
        error = 0 if found is not None else MethodError.UNKNOWN
        return [*self._system.components(found), _error(error)]

    async def list_results(self, *given: Any) -> list[ua.Variant]:
        """Those that wait to be acknowledged and may still be acted on."""
        state, meas, part, _, recipe, _, _, _, job, most, start, _ = given
        found = [
            self._system.result(verdict) for verdict in self._dialogue.waiting(time.monotonic_ns())
        ]
        for name, wanted in (
            ("MeasId", meas), ("PartId", part), ("InternalRecipeId", recipe), ("JobId", job),
        ):  # fmt: skip
            if _id(wanted):
                found = [one for one in found if _id(getattr(one, name)) == _id(wanted)]
        if isinstance(state, int) and state:
            found = [one for one in found if one.ResultState == state]
        portion, whole = _portion(found, most, start)
        return [
            ua.Variant(whole, _V.Boolean), ua.Variant(len(portion), _V.UInt32),
            ua.Variant(0, _V.UInt32),
            ua.Variant(portion, _V.ExtensionObject, is_array=True), _error(0),
        ]  # fmt: skip

    # -- our own -------------------------------------------------------------------------------

    async def open_session(self, session: Any) -> list[ua.Variant]:
        named = session if isinstance(session, str) else ""
        return [_error(await self._dialogue.open_session(CALLER.get(), named))]

    async def acknowledge(self, named: Any) -> list[ua.Variant]:
        return [_error(await self._dialogue.acknowledge(CALLER.get(), _id(named)))]


def _portion(found: list[Any], most: Any, start: Any) -> tuple[list[Any], bool]:
    """What was asked for of a list, and whether it reaches its end; 0 means all."""
    first = start if isinstance(start, int) else 0
    many = most if isinstance(most, int) and most else len(found)
    portion = found[first : first + many]
    return portion, first + len(portion) >= len(found)
