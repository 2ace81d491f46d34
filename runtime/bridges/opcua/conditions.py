"""Alarms of the line as conditions, and again for whoever asks for those that are open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from asyncua import Server, ua
from asyncua.common.events import Event

from kenpin.runtime.bridges.opcua.access import CALLER

__all__ = ["Conditions", "condition_fields"]

_V = ua.VariantType
_I = ua.ObjectIds


def condition_fields(alarm: Mapping[str, Any], node: ua.NodeId, *, error: bool) -> dict[str, Any]:
    """What a condition says beside what every event does.

    Parameters
    ----------
    alarm
        As the line told it.
    node
        That stands for the condition, its ConditionId.
    error
        Nothing is judged any more.
    """
    active, source = alarm["active"], alarm["source"]
    state = ua.LocalizedText("Active" if active else "Inactive")
    enabled, acked = ua.LocalizedText("Enabled"), ua.LocalizedText("Acknowledged")
    return {
        "NodeId": (node, _V.NodeId),
        "ConditionName": (source, _V.String),
        "ConditionClassId": (ua.NodeId(_I.SystemConditionClassType), _V.NodeId),
        "ConditionClassName": (ua.LocalizedText("SystemConditionClass"), _V.LocalizedText),
        "Retain": (active, _V.Boolean),
        "EnabledState": (enabled, _V.LocalizedText),
        "EnabledState/Id": (True, _V.Boolean),
        # It goes by itself once its cause has gone: there is nothing to acknowledge.
        "AckedState": (acked, _V.LocalizedText),
        "AckedState/Id": (True, _V.Boolean),
        "ActiveState": (state, _V.LocalizedText),
        "ActiveState/Id": (active, _V.Boolean),
        "Quality": (ua.StatusCode(ua.StatusCodes.Good), _V.StatusCode),
        "StopReaction": (error, _V.Boolean),
        "BlockReaction": (error, _V.Boolean),
        "CausePath": (source, _V.String),
    }


class Conditions:
    """Those that are open, and the two methods of OPC 10000-9, 5.5.7 and 5.5.8, that tell them.

    asyncua's own tell them to whoever watches the `Server` object alone, and to any session.

    mark  makes the event of a type that frames what is told again
    """

    def __init__(
        self, server: Server, nodes: Collection[ua.NodeId], mark: Callable[[ua.NodeId], Event]
    ) -> None:
        self._server = server
        self._nodes = nodes
        self._mark = mark
        self._open: dict[str, Event] = {}
        for number in (_I.ConditionType_ConditionRefresh, _I.ConditionType_ConditionRefresh2):
            server.iserver.isession.add_method_callback(ua.NodeId(number), self._refresh)

    def note(self, source: str, event: Event, *, active: bool) -> None:
        """An alarm came, or went."""
        self._open.pop(source, None)
        if active:
            self._open[source] = event

    def only(self, sources: Collection[str]) -> None:
        """No others are open: a line that has started anew does not say what ended with it."""
        for source in self._open.keys() - set(sources):
            del self._open[source]

    async def _refresh(
        self, _parent: ua.NodeId, *given: ua.Variant
    ) -> ua.StatusCode | list[ua.Variant]:
        if not given:
            return ua.StatusCode(ua.StatusCodes.BadArgumentsMissing)
        numbers = [variant.Value for variant in given]
        subscriptions = self._server.iserver.subscription_service.subscriptions
        found = subscriptions.get(numbers[0]) if isinstance(numbers[0], int) else None
        if found is None or found.session_id != CALLER.get().session_id:
            return ua.StatusCode(ua.StatusCodes.BadSubscriptionIdInvalid)
        item = numbers[1] if len(numbers) > 1 else None
        if item is not None and item not in found.monitored_item_srv._monitored_items:
            return ua.StatusCode(ua.StatusCodes.BadMonitoredItemIdInvalid)
        begin, end = (
            self._mark(ua.NodeId(number))
            for number in (_I.RefreshStartEventType, _I.RefreshEndEventType)
        )
        for event in (begin, *self._open.values(), end):
            await self._again(found, event, item)
        return []

    async def _again(self, subscription: Any, event: Event, item: int | None) -> None:
        """To all that watch one of our nodes, or once to the item that is named."""
        for node in self._nodes:
            event.emitting_node = node
            delivered = await subscription.monitored_item_srv.trigger_event(event, item)
            if delivered and item is not None:
                return
