"""The line as nodes: a VisionSystem, and beside its standard nodes an object `Line` of our own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from asyncua import ua
from asyncua.common.events import Event

from kenpin.runtime.bridges.line_watch import LineWatch
from kenpin.runtime.bridges.opcua.address_space import AddressSpace, variable
from kenpin.runtime.bridges.opcua.conditions import Conditions, condition_fields
from kenpin.runtime.bridges.opcua.dialogue import Notice
from kenpin.runtime.bridges.opcua.result_fields import bundle_hash, ids_of, job_id, result_fields
from kenpin.runtime.bridges.opcua.table import StructureField
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["LINE_URI", "Method", "VisionSystem"]

# The namespace of what the companion specification has no word for.
LINE_URI = "urn:kenpin:line"
# What is called where a client calls a method.
Method = Callable[..., Awaitable[list[ua.Variant]]]

_V = ua.VariantType
_STATE_MACHINE, _AUTOMATIC = "VisionStateMachineType", "VisionAutomaticModeStateMachineType"
# The line's states as the specification's, in the outer and in the inner machine.
_STATES: Mapping[str, tuple[str, str]] = {
    State.PREOPERATIONAL: ("Preoperational", ""),
    State.HALTED: ("Halted", ""),
    State.ERROR: ("Error", ""),
    State.INITIALIZED: ("Operational", "Initialized"),
    State.READY: ("Operational", "Ready"),
    State.SINGLE: ("Operational", "SingleExecution"),
    State.CONTINUOUS: ("Operational", "ContinuousExecution"),
}
# SystemStateDataType: production, stand by, scheduled and unscheduled downtime, not scheduled.
_SYSTEM_STATES = {
    "SingleExecution": 1, "ContinuousExecution": 1, "Ready": 2, "Initialized": 2,
    "Error": 5, "Preoperational": 6, "Halted": 6,
}  # fmt: skip
_LOW, _WARNING, _HIGH = 100, 500, 800
_OUTER, _INNER = "VisionStateMachine", "VisionStateMachine.AutomaticModeStateMachine"
# Instances by their paths below the VisionSystem, with type and members that are offered.
_OBJECTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    _OUTER: (_STATE_MACHINE, ("Reset", "Halt", "SelectModeAutomatic")),
    _INNER: (
        _AUTOMATIC, ("StartSingleJob", "StartContinuous", "Stop", "Abort"),
    ),
    "RecipeManagement": (
        "RecipeManagementType", ("GetRecipeListFiltered", "PrepareRecipe", "UnprepareRecipe"),
    ),
    "ResultManagement": (
        "ResultManagementType",
        ("GetResultById", "GetResultComponentsById", "GetResultListFiltered"),
    ),
}  # fmt: skip
# Methods of our own object, with what they are given; all of them give an Error.
_OWN_METHODS: Mapping[str, tuple[StructureField, ...]] = {
    "OpenSession": (StructureField("Session", "String"),),
    "Acknowledge": (StructureField("ResultId", "ResultIdDataType"),),
    "ActivateRecipe": (StructureField("InternalId", "RecipeIdInternalDataType"),),
}
_OWN_VARIABLES: Mapping[str, str] = {
    "Heartbeat": "UInt32", "State": "String", "LastResult": "UInt64", "Bundle": "String",
    "Boot": "String",
}  # fmt: skip


class VisionSystem:
    """The nodes of one line.

    index  of our own namespace; node ids in it are paths, such as VisionSystem.Line.Heartbeat
    """

    def __init__(self, space: AddressSpace, facts: BridgedLine, index: int) -> None:
        self._space = space
        self._facts = facts
        self.index = index
        self._shown: dict[ua.NodeId, Any] = {}
        self._states = ("", "")
        self._last_job = ""
        self._event_type = self.node("LineEventType")
        self._notifiers = [
            self.node("VisionSystem.Line"), self.node("VisionSystem"),
            ua.NodeId(ua.ObjectIds.Server),
        ]  # fmt: skip

    def node(self, path: str) -> ua.NodeId:
        """Of ours."""
        return ua.NodeId(path, self.index)

    # -- building --------------------------------------------------------------------------

    async def build(self, methods: Mapping[str, Method]) -> None:
        """Add all nodes; `methods` by their names."""
        await self._own_event_type()
        notifier = ua.ObjectAttributes(EventNotifier=1)
        name = ua.QualifiedName("VisionSystem", self.index)
        await self._space.add(
            self.node("VisionSystem"), name, ua.NodeId(ua.ObjectIds.ObjectsFolder),
            ua.ObjectIds.Organizes, notifier, self._space.type_id("VisionSystemType"),
        )  # fmt: skip
        for path, (type_name, offered) in _OBJECTS.items():
            await self._object(path, type_name)
            for method in offered:
                await self._method(path, type_name, method, methods[method])
        for path in (_OUTER, _INNER):
            await self._current_state(path)
        await self._variable("VisionSystem.SystemState", "SystemStateDescriptionDataType")
        await self._own_object(methods)
        self._conditions = Conditions(
            self._space.server, self._notifiers, lambda kind: self._event(kind, "refresh", {})
        )
        for node in self._notifiers[:2]:
            await self._space.refer(ua.NodeId(ua.ObjectIds.Server), ua.ObjectIds.HasNotifier, node)

    async def _object(self, path: str, type_name: str) -> None:
        parent, _, called = f"VisionSystem.{path}".rpartition(".")
        await self._space.add(
            self.node(f"{parent}.{called}"), ua.QualifiedName(called, self._space.index),
            self.node(parent), ua.ObjectIds.HasComponent, ua.ObjectAttributes(),
            self._space.type_id(type_name),
        )  # fmt: skip

    async def _method(self, path: str, type_name: str, called: str, work: Method) -> None:
        space, member = self._space, self._space.table.member(type_name, called)
        node = self.node(f"VisionSystem.{path}.{called}")
        described = [
            (self.node(f"VisionSystem.{path}.{called}.{end}"), found.fields) if found else None
            for end, found in (("In", member.given), ("Out", member.gives))
        ]
        name = ua.QualifiedName(called, space.index)
        await space.add_method(node, name, self.node(f"VisionSystem.{path}"), *described)
        space.server.iserver.isession.add_method_callback(node, work)

    async def _current_state(self, path: str) -> None:
        node = self.node(f"VisionSystem.{path}.CurrentState")
        await self._space.add(
            node, ua.QualifiedName("CurrentState", 0), self.node(f"VisionSystem.{path}"),
            ua.ObjectIds.HasComponent, variable(ua.NodeId(ua.ObjectIds.LocalizedText)),
            ua.NodeId(ua.ObjectIds.FiniteStateVariableType),
        )  # fmt: skip
        for called, kind in (("Id", ua.ObjectIds.NodeId), ("Number", ua.ObjectIds.UInt32)):
            await self._space.add(
                self.node(f"VisionSystem.{path}.CurrentState.{called}"),
                ua.QualifiedName(called, 0), node, ua.ObjectIds.HasProperty,
                variable(ua.NodeId(kind)), ua.NodeId(ua.ObjectIds.PropertyType),
            )  # fmt: skip

    async def _variable(self, path: str, kind: str, index: int | None = None) -> None:
        parent, _, called = path.rpartition(".")
        await self._space.add(
            self.node(path),
            ua.QualifiedName(called, self._space.index if index is None else index),
            self.node(parent), ua.ObjectIds.HasComponent, variable(self._space.type_id(kind)),
            ua.NodeId(ua.ObjectIds.BaseDataVariableType),
        )  # fmt: skip

    async def _own_object(self, methods: Mapping[str, Method]) -> None:
        space, path = self._space, "VisionSystem.Line"
        await space.add(
            self.node(path), ua.QualifiedName("Line", self.index), self.node("VisionSystem"),
            ua.ObjectIds.HasComponent, ua.ObjectAttributes(EventNotifier=1),
            ua.NodeId(ua.ObjectIds.BaseObjectType),
        )  # fmt: skip
        for called, kind in _OWN_VARIABLES.items():
            await self._variable(f"{path}.{called}", kind, self.index)
        for called, given in _OWN_METHODS.items():
            node = self.node(f"{path}.{called}")
            await space.add_method(
                node, ua.QualifiedName(called, self.index), self.node(path),
                (self.node(f"{path}.{called}.In"), given),
                (self.node(f"{path}.{called}.Out"), (StructureField("Error", "Int32"),)),
            )  # fmt: skip
            space.server.iserver.isession.add_method_callback(node, methods[called])

    async def _own_event_type(self) -> None:
        space = self._space
        await space.add(
            self._event_type, ua.QualifiedName("LineEventType", self.index),
            ua.NodeId(ua.ObjectIds.BaseEventType), ua.ObjectIds.HasSubtype,
            ua.ObjectTypeAttributes(IsAbstract=False),
        )  # fmt: skip
        for called in ("Said", "Topic"):
            node = self.node(f"LineEventType.{called}")
            await space.add(
                node, ua.QualifiedName(called, self.index), self._event_type,
                ua.ObjectIds.HasProperty, variable(ua.NodeId(ua.ObjectIds.String)),
                ua.NodeId(ua.ObjectIds.PropertyType),
            )  # fmt: skip
            rule = ua.NodeId(ua.ObjectIds.ModellingRule_Mandatory)
            await space.refer(node, ua.ObjectIds.HasModellingRule, rule)

    # -- showing ---------------------------------------------------------------------------

    async def show(self, line: LineWatch, now_ns: int) -> None:
        """Bring all variables up to date, and tell of a change of state.

        Where the line is not heard, their quality is Bad: nothing of before is true any more.
        """
        self._conditions.only(line.alarms)
        heard = line.state_number(now_ns) != 0
        states = _STATES.get(line.state, ("", "")) if heard else ("", "")
        outer, inner = states
        await self._state(_OUTER, _STATE_MACHINE, outer, heard=heard)
        await self._state(_INNER, _AUTOMATIC, inner, heard=heard)
        system = None
        if heard:
            number = _SYSTEM_STATES[inner or outer]
            system = self._space.structured(
                "SystemStateDescriptionDataType", State=number, StateDescription=line.state
            )
        await self._write("VisionSystem.SystemState", system, _V.ExtensionObject)
        values = {
            "Heartbeat": (line.beats & 0xFFFFFFFF, _V.UInt32), "State": (line.state, _V.String),
            "LastResult": (line.last_seq, _V.UInt64), "Bundle": (line.bundle, _V.String),
            "Boot": (line.boot, _V.String),
        }  # fmt: skip
        for name, (value, kind) in values.items():
            await self._write(f"VisionSystem.Line.{name}", value if heard else None, kind)
        if states != self._states:
            before, self._states = self._states, states
            await self._changed(before, states)

    async def _state(self, path: str, type_name: str, name: str, *, heard: bool) -> None:
        base = f"VisionSystem.{path}.CurrentState"
        inactive = ua.StatusCodes.BadStateNotActive if heard else ua.StatusCodes.BadNoCommunication
        text = node = number = None
        if name:
            member = self._space.table.member(type_name, name)
            assert member.counted is not None
            text, node = ua.LocalizedText(name), self._space.member_id(type_name, name)
            number = member.counted[1]
        await self._write(base, text, _V.LocalizedText, inactive)
        await self._write(f"{base}.Id", node, _V.NodeId, inactive)
        await self._write(f"{base}.Number", number, _V.UInt32, inactive)

    async def _write(
        self,
        path: str,
        value: Any,
        kind: ua.VariantType,
        bad: int = ua.StatusCodes.BadNoCommunication,
    ) -> None:
        node, now = self.node(path), datetime.now(UTC)
        status = ua.StatusCodes.Good if value is not None else bad
        if self._shown.get(node, ()) == (value, status):
            return
        self._shown[node] = value, status
        variant = ua.Variant() if value is None else ua.Variant(value, kind)
        await self._space.server.write_attribute_value(
            node, ua.DataValue(variant, ua.StatusCode(status), now, now)
        )

    async def _changed(self, before: tuple[str, str], after: tuple[str, str]) -> None:
        """Events of a change of state, where the specification knows a transition between."""
        machine = _STATE_MACHINE if before[0] != after[0] else _AUTOMATIC
        begin, end = (pair[0] if machine == _STATE_MACHINE else pair[1] for pair in (before, after))
        if not begin or not end:
            return
        ids = [self._space.table.member(machine, name).number for name in (begin, end)]
        for member in self._space.table.members(machine):
            if member.between == tuple(ids) and not member.by:
                break
        else:
            return
        fields: dict[str, Any] = {}
        for called, name, node in (
            ("Transition", member.name, self._space.member_id(machine, member.name)),
            ("FromState", begin, self._space.member_id(machine, begin)),
            ("ToState", end, self._space.member_id(machine, end)),
        ):
            fields[called] = ua.LocalizedText(name), _V.LocalizedText
            fields[f"{called}/Id"] = node, _V.NodeId
        numbers = {found.number: found.name for found in self._space.table.types.values()}
        for number in member.then:
            name = numbers[number]
            if name in ("StateChangedEventType", "ErrorEventType", "ErrorResolvedEventType"):
                await self._fire(self._space.type_id(name), f"{begin} to {end}", fields)
            elif name == "ReadyEventType":
                job = self._structure("JobIdDataType", self._last_job)
                await self._fire(self._space.type_id(name), "ready", {"JobId": job})

    # -- telling ---------------------------------------------------------------------------

    async def tell(self, notice: Notice) -> None:
        """An event, of the specification's type where it has one."""
        fields = notice.fields
        if notice.what == "result":
            await self._result(notice)
        elif notice.what in ("started", "acquired"):
            self._last_job = job_id(fields)
            name = "JobStarted" if notice.what == "started" else "AcquisitionDone"
            job = {"JobId": self._structure("JobIdDataType", self._last_job)}
            about = f"{name} {ids_of(fields['trig'])[0]}"
            await self._fire(self._space.type_id(f"{name}EventType"), about, job, notice)
        elif notice.what == "prepared":
            recipe = {"InternalId": self.recipe(fields["bundle"])}
            kind = self._space.type_id("RecipePreparedEventType")
            await self._fire(kind, f"prepared {fields['bundle']}", recipe, notice)
        elif notice.what == "alarm":
            await self._condition(notice)
        else:
            await self._fire(self._event_type, str(fields["type"]), {}, notice)

    async def _result(self, notice: Notice) -> None:
        self._last_job = job_id(notice.fields)
        about = "OK" if notice.fields["verdict"] == 1 else f"NG {notice.fields['reason']}"
        kind = self._space.type_id("ResultReadyEventType")
        fields = self.result_fields(notice.fields)
        if not notice.ours:
            # A client that waits for a part of this name must not take it for its own.
            fields = {key: fields[key] for key in fields if key not in ("MeasId", "PartId")}
        await self._fire(kind, about, fields, notice)

    def result_fields(self, verdict: Mapping[str, Any]) -> dict[str, tuple[Any, ua.VariantType]]:
        """Of a ResultReadyEvent, by their names."""
        found, make = result_fields(verdict), self._space.structured
        times = make(
            "ProcessingTimesDataType", StartTime=found.begun, EndTime=found.created,
            ProcessingDuration=found.judging_ms,
        )  # fmt: skip
        kinds = (_V.UInt16, _V.Int16, _V.String, _V.Double, _V.Double, _V.UInt32, _V.String)
        content = [
            ua.Variant(value, kind) for value, kind in zip(found.content, kinds, strict=True)
        ]
        settings = make("ConfigurationIdDataType", Id=self._facts.settings)
        fields: dict[str, tuple[Any, ua.VariantType]] = {
            "ResultId": self._structure("ResultIdDataType", found.result),
            "IsPartial": (False, _V.Boolean),
            "IsSimulated": (found.simulated, _V.Boolean),
            "ResultState": (found.state, _V.Int32),
            "InternalRecipeId": self.recipe(found.recipe),
            "InternalConfigurationId": (settings, _V.ExtensionObject),
            "JobId": self._structure("JobIdDataType", found.job),
            "CreationTime": (found.created, _V.DateTime),
            "ProcessingTimes": (times, _V.ExtensionObject),
            "ResultContent": (content, _V.Variant),
        }
        if found.meas:
            fields["MeasId"] = self._structure("MeasIdDataType", found.meas)
        if found.part:
            fields["PartId"] = self._structure("PartIdDataType", found.part)
        return fields

    def recipe(self, label: str) -> tuple[Any, ua.VariantType]:
        """A bundle as a RecipeIdInternalDataType."""
        hashed = bundle_hash(label)
        how = {"Hash": hashed, "HashAlgorithm": "SHA-256, first 6 bytes"} if hashed else {}
        value = self._space.structured("RecipeIdInternalDataType", Id=label, **how)
        return value, _V.ExtensionObject

    def result(self, verdict: Mapping[str, Any] | None) -> Any:
        """A verdict as a ResultDataType; None: one that says nothing."""
        make = self._space.structured
        if verdict is None:
            return make(
                "ResultDataType", ResultId=make("ResultIdDataType", Id=""), IsPartial=False,
                ResultState=0, InternalRecipeId=make("RecipeIdInternalDataType", Id=""),
                InternalConfigurationId=make("ConfigurationIdDataType", Id=""),
                JobId=make("JobIdDataType", Id=""), CreationTime=datetime(1601, 1, 1, tzinfo=UTC),
            )  # fmt: skip
        fields = self.result_fields(verdict)
        return make("ResultDataType", **{name: value for name, (value, _) in fields.items()})

    def components(self, verdict: Mapping[str, Any] | None) -> list[ua.Variant]:
        """A verdict as GetResultComponentsById gives it, without the error at the end."""
        member = self._space.table.member("ResultManagementType", "GetResultComponentsById")
        assert member.gives is not None
        known: dict[str, tuple[Any, ua.VariantType]] = {
            "HasTransferableDataOnFile": (False, _V.Boolean),
            "ResultHandle": (0, _V.UInt32),
        }
        if verdict is not None:
            known |= self.result_fields(verdict)
        found = [known.get(field.name) for field in member.gives.fields[:-1]]
        return [ua.Variant() if pair is None else ua.Variant(*pair) for pair in found]

    def job(self, named: str) -> ua.Variant:
        """A JobIdDataType."""
        return ua.Variant(*self._structure("JobIdDataType", named))

    def _structure(self, kind: str, text: str) -> tuple[Any, ua.VariantType]:
        return self._space.structured(kind, Id=text), _V.ExtensionObject

    async def _condition(self, notice: Notice) -> None:
        """An alarm of the line: a warning, or an error where nothing is judged any more."""
        fields = notice.fields
        active, source = fields["active"], fields["source"]
        error = self._states[0] == "Error"
        kind = "VisionErrorConditionType" if error else "VisionWarningConditionType"
        about = condition_fields(fields, self.node(f"Alarm.{source}"), error=error)
        severity = (_HIGH if error else _WARNING) if active else _LOW
        event = self._event(self._space.type_id(kind), fields["detail"], about, notice, severity)
        self._conditions.note(source, event, active=active)
        await self._emit(event)

    async def _fire(
        self,
        kind: ua.NodeId,
        message: str,
        fields: Mapping[str, tuple[Any, ua.VariantType]],
        notice: Notice | None = None,
    ) -> None:
        await self._emit(self._event(kind, message, fields, notice))

    def _event(
        self,
        kind: ua.NodeId,
        message: str,
        fields: Mapping[str, tuple[Any, ua.VariantType]],
        notice: Notice | None = None,
        severity: int = _LOW,
    ) -> Event:
        now = datetime.now(UTC)
        event = Event()
        base: dict[str, tuple[Any, ua.VariantType]] = {
            "EventId": (uuid.uuid4().bytes, _V.ByteString),
            "EventType": (kind, _V.NodeId),
            "SourceNode": (self.node("VisionSystem"), _V.NodeId),
            "SourceName": (self._facts.line, _V.String),
            "Time": (now, _V.DateTime),
            "ReceiveTime": (now, _V.DateTime),
            "Message": (ua.LocalizedText(message), _V.LocalizedText),
            "Severity": (severity, _V.UInt16),
        }
        if notice is not None:
            said = json.dumps(notice.fields, separators=(",", ":"))
            base |= {"Said": (said, _V.String), "Topic": (notice.topic, _V.String)}
        for name, (value, variant) in {**base, **fields}.items():
            event.add_property(name, value, variant)
        return event

    async def _emit(self, event: Event) -> None:
        # All in order on `Line`; what the specification knows on the other two as well.
        own = event.EventType == self._event_type
        for node in self._notifiers[:1] if own else self._notifiers:
            event.emitting_node = node
            await self._space.server.iserver.subscription_service.trigger_event(event)
