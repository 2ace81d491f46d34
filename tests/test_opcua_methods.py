"""Every method of the VisionSystem and its conditions, by asyncua's client before a played line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, Node, ua

from bridge_process import BridgeProcess, free_port, lying_facts
from kenpin.config.bridge_opcua import OpcuaSettings
from kenpin.runtime.bridges.opcua.structures import define_structures
from lying_line import LyingLine
from test_bridges import until
from test_opcua_bridge import good, opcua
from wire_samples import verdict_message

pytestmark = pytest.mark.clock

COMPANION = "http://opcfoundation.org/UA/MachineVision"
AUTOMATIC = "VisionStateMachine.AutomaticModeStateMachine"
NEXT = "next@0123456789ab"
NOT_OFFERED, UNKNOWN, IN_USE = -17, -18, -16
U32, I32 = ua.VariantType.UInt32, ua.VariantType.Int32


class Plc:
    """A client that has heard its line; calls methods by their paths and keeps events."""

    def __init__(self, client: Client, own: int, index: int) -> None:
        self.client, self.own, self.index = client, own, index
        self._types = define_structures(index)
        self.events: list[Any] = []

    def node(self, path: str) -> Node:
        return self.client.get_node(ua.NodeId(f"VisionSystem.{path}", self.own))

    def an(self, kind: str, named: str = "") -> ua.Variant:
        made = self._types[f"{kind}DataType"](Id=named)
        return ua.Variant(made, ua.VariantType.ExtensionObject)

    async def call(self, path: str, *given: ua.Variant) -> list[Any]:
        parent = self.node(path.rpartition(".")[0])
        found = await parent.call_method(self.node(path).nodeid, *given)
        return found if isinstance(found, list) else [found]

    async def error(self, path: str, *given: ua.Variant) -> int:
        number: int = (await self.call(path, *given))[-1]
        return number

    async def trigger(self, meas: str) -> int:
        nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
        ids = ("MeasId", meas), ("PartId", ""), ("RecipeIdExternal", ""), ("ProductId", "")
        given = [self.an(kind, named) for kind, named in ids]
        return await self.error(f"{AUTOMATIC}.StartSingleJob", *given, nothing)

    async def results(self, *, meas: str = "", most: int = 0, start: int = 0) -> list[Any]:
        kinds = ("PartId", "RecipeIdExternal", "RecipeIdInternal", "ConfigurationId",
                 "ConfigurationId", "ProductId", "JobId")  # fmt: skip
        found = await self.call(
            "ResultManagement.GetResultListFiltered", ua.Variant(0, I32), self.an("MeasId", meas),
            *(self.an(kind) for kind in kinds), ua.Variant(most, U32), ua.Variant(start, U32),
            ua.Variant(0, I32),
        )  # fmt: skip
        assert found[-1] == 0
        assert found[1] == len(found[3] or [])
        return found

    def event_notification(self, event: Any) -> None:
        self.events.append(event)

    async def refresh(self, subscription: int, *item: int) -> None:
        number = ua.ObjectIds.ConditionType_ConditionRefresh
        if item:
            number = ua.ObjectIds.ConditionType_ConditionRefresh2
        kind = self.client.get_node(ua.NodeId(ua.ObjectIds.ConditionType))
        given = [ua.Variant(one, U32) for one in (subscription, *item)]
        await kind.call_method(ua.NodeId(number), *given)

    async def event(self, wanted: Callable[[Any], bool], what: str) -> Any:
        async with asyncio.timeout(10):
            while not (found := [event for event in self.events if wanted(event)]):
                await asyncio.sleep(0.01)
        assert found, what
        return found[-1]


@contextlib.asynccontextmanager
async def plc(port: int) -> AsyncIterator[Plc]:
    async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=10) as client:
        own = await client.get_namespace_index("urn:kenpin:line")
        index = await client.get_namespace_index(COMPANION)
        found = Plc(client, own, index)
        await good(found.node("Line.Heartbeat"))
        subscription = await client.create_subscription(10, found)
        system = client.get_node(ua.NodeId("VisionSystem", own))
        for number in EVENTS:
            await subscription.subscribe_events(system, ua.NodeId(number, index))
        yield found


# ResultReady, RecipePrepared, VisionWarningCondition, VisionErrorCondition
EVENTS = (1024, 1022, 1034, 1035)
MARKS = (
    ua.NodeId(ua.ObjectIds.RefreshStartEventType), ua.NodeId(ua.ObjectIds.RefreshEndEventType),
)  # fmt: skip


def run(line: LyingLine, work: Callable[[Plc], Any], **settings: object) -> None:
    """With a bridge of that line."""
    with opcua(line, **settings) as (found, _):

        async def whole() -> None:
            async with plc(found.port) as client:
                await work(client)

        asyncio.run(whole())


def test_stop_abort_reset_and_modes_on_a_line_that_is_triggered(tmp_path: Path) -> None:
    with LyingLine(tmp_path) as line:

        async def work(client: Plc) -> None:
            cause = ua.Variant(0, ua.VariantType.Int64), ua.Variant("", ua.VariantType.String)
            for name in ("Stop", "Abort"):
                assert await client.error(f"{AUTOMATIC}.{name}", *cause) == 0
            assert await client.error("VisionStateMachine.Reset", *cause) == 0
            assert [command["type"] for command in line.commands] == ["reset"]
            assert await client.error("VisionStateMachine.Halt", *cause) == NOT_OFFERED
            assert await client.error("VisionStateMachine.SelectModeAutomatic") == 0
            async with plc(int(client.client.server_url.port)) as second:
                assert await second.error(f"{AUTOMATIC}.Stop", *cause) == IN_USE
            with pytest.raises(ua.UaStatusCodeError, match="ArgumentsMissing"):
                await client.call("VisionStateMachine.Reset")

        run(line, work)


def test_recipes_are_listed_prepared_and_activated(tmp_path: Path) -> None:
    with LyingLine(tmp_path) as line:

        async def recipes(client: Plc, prepared: int = 2, external: str = "") -> list[str]:
            found = await client.call(
                "RecipeManagement.GetRecipeListFiltered", client.an("RecipeIdExternal", external),
                client.an("ProductId"), ua.Variant(prepared, I32), ua.Variant(0, U32),
                ua.Variant(0, U32), ua.Variant(0, I32),
            )  # fmt: skip
            assert (found[0], found[4]) == (True, 0)
            return [recipe.Id for recipe in found[3] or []]

        async def prepare(client: Plc, label: str) -> list[Any]:
            return await client.call(
                "RecipeManagement.PrepareRecipe", client.an("RecipeIdExternal"),
                client.an("RecipeIdInternal", label),
            )  # fmt: skip

        async def work(client: Plc) -> None:
            before = "b@000000000001"
            assert await recipes(client) == [before, NEXT]
            assert await recipes(client, external=NEXT) == [NEXT]
            assert await recipes(client, prepared=1) == [before]
            assert (await prepare(client, "strange@0123456789ab"))[-1] == UNKNOWN
            recipe, _, error = await prepare(client, NEXT)
            assert (recipe.Id, error) == (NEXT, 0)
            told = await client.event(lambda event: hasattr(event, "InternalId"), "not told")
            assert told.InternalId.Id == NEXT
            assert told.InternalId.Hash == bytes.fromhex("0123456789ab")
            assert await recipes(client, prepared=1) == [before, NEXT]
            internal = client.an("RecipeIdInternal", NEXT)
            external = client.an("RecipeIdExternal")
            undo = "RecipeManagement.UnprepareRecipe"
            assert await client.error(undo, external, internal) == NOT_OFFERED
            assert await client.error("Line.ActivateRecipe", internal) == 0
            assert [command["type"] for command in line.commands] == ["prepare", "activate"]
            async with asyncio.timeout(10):
                while await recipes(client) != [NEXT]:
                    await asyncio.sleep(0.02)

        run(line, work, recipes=(NEXT,))


def test_a_result_of_another_session_names_no_part_that_a_client_may_wait_for(
    tmp_path: Path,
) -> None:
    """Another client of the line, or the same one before it started anew."""
    with LyingLine(tmp_path) as line:

        async def work(client: Plc) -> None:
            session = ua.Variant("s-1", ua.VariantType.String)
            assert await client.error("Line.OpenSession", session) == 0
            assert await client.trigger("5") == 0
            own = await client.event(lambda event: hasattr(event, "ResultId"), "no result")
            assert (own.MeasId.Id, own.PartId) == ("5", None)
            assert own.JobId.Id.endswith(".s-1.5")
            said = verdict_message(900).model_dump(mode="json")
            other = said | {"trig": "5/left", "session": "s-2", "t_mono_ns": time.monotonic_ns()}
            line.to_publish.append(("verdict", other))
            heard = await client.event(
                lambda e: getattr(e, "ResultId", own.ResultId) != own.ResultId, ""
            )
            assert heard.ResultContent[0].Value == 1
            assert (heard.MeasId, heard.PartId) == (None, None)

        run(line, work)


def test_results_are_listed_until_they_are_acknowledged(tmp_path: Path) -> None:
    with LyingLine(tmp_path) as line:

        async def work(client: Plc) -> None:
            session = ua.Variant("s-1", ua.VariantType.String)
            assert await client.error("Line.OpenSession", session) == 0
            for meas in ("1", "2", "3"):
                assert await client.trigger(meas) == 0
            async with asyncio.timeout(10):
                while (await client.results())[1] < 3:
                    await asyncio.sleep(0.02)
            whole, _, _, found, _ = await client.results(most=2)
            assert (whole, [one.MeasId.Id for one in found]) == (False, ["1", "2"])
            whole, _, _, found, _ = await client.results(most=2, start=2)
            assert (whole, [one.MeasId.Id for one in found]) == (True, ["3"])
            (second,) = (await client.results(meas="2"))[3]
            assert [value.Value for value in second.ResultContent][:3] == [1, 0, "ok"]
            named = ua.Variant(second.ResultId, ua.VariantType.ExtensionObject)
            assert await client.error("Line.Acknowledge", named) == 0
            left = [one.MeasId.Id for one in (await client.results())[3]]
            assert left == ["1", "3"]
            given = named, ua.Variant(0, I32)
            again = await client.call("ResultManagement.GetResultById", *given)
            assert (again[1].MeasId.Id, again[-1]) == ("2", 0), "for the books it is still there"
            parts = await client.call("ResultManagement.GetResultComponentsById", *given)
            assert parts[-1] == 0
            stranger = client.an("ResultId", "nobody:1")
            gone = await client.call("ResultManagement.GetResultById", stranger, given[1])
            assert gone[-1] == UNKNOWN

        run(line, work, hold_ms=10_000)


def test_alarms_are_conditions_that_come_and_go(tmp_path: Path) -> None:
    with LyingLine(tmp_path) as line:
        alarm = {"source": "camera", "detail": "the cable is out"}

        async def work(client: Plc) -> None:
            def states() -> list[tuple[bool, str]]:
                return [
                    (event.Retain, event.Message.Text)
                    for event in client.events
                    if getattr(event, "ConditionName", None) == "camera"
                ]

            async def heard(count: int) -> None:
                async with asyncio.timeout(10):
                    while len(states()) < count:
                        await asyncio.sleep(0.01)

            line.to_publish.append(("alarm", alarm | {"active": True}))
            await heard(1)
            assert states() == [(True, "the cable is out")]
            said = next(event for event in client.events if hasattr(event, "ConditionName"))
            late = Plc(client.client, client.own, client.index)
            subscription = await client.client.create_subscription(10, late)
            # One item: only what one item is told has an order.
            await subscription.subscribe_events(
                client.client.get_node(ua.NodeId("VisionSystem", client.own)),
                [*MARKS, ua.NodeId(1034, client.index)],
            )

            async def refreshed(count: int) -> list[Any]:
                await client.refresh(subscription.subscription_id)
                async with asyncio.timeout(10):
                    while len(late.events) < count:
                        await asyncio.sleep(0.01)
                return [late.events.pop(0) for _ in range(count)]

            begin, again, end = await refreshed(3)
            assert (begin.EventType, end.EventType) == MARKS
            assert (again.Message.Text, again.Retain) == ("the cable is out", True)
            assert again.EventId == said.EventId, "it is the same event"
            with pytest.raises(ua.UaStatusCodeError, match="MonitoredItemIdInvalid"):
                await client.refresh(subscription.subscription_id, 99)
            async with plc(int(client.client.server_url.port)) as stranger:
                with pytest.raises(ua.UaStatusCodeError, match="SubscriptionIdInvalid"):
                    await stranger.refresh(subscription.subscription_id)
            line.to_publish.append(("alarm", alarm | {"active": False, "detail": ""}))
            await heard(2)
            assert states()[1][0] is False, "nothing is open any more"
            async with asyncio.timeout(10):
                while not late.events:
                    await asyncio.sleep(0.01)
            late.events.clear()
            begin, end = await refreshed(2)
            assert (begin.EventType, end.EventType) == MARKS

        run(line, work)


@pytest.mark.thorough
def test_a_line_that_runs_by_itself_is_not_stopped_by_its_clients(tmp_path: Path) -> None:
    settings = OpcuaSettings(kind="opcua", port=free_port())
    with (
        LyingLine(tmp_path, free=True) as line,
        BridgeProcess(settings, lying_facts(line, triggered=False)) as process,
    ):
        until(lambda: any(t.address for t in process.reports), f"the bridge: {process.fault}")

        async def whole() -> None:
            async with plc(settings.port) as client:
                cause = ua.Variant(0, ua.VariantType.Int64), ua.Variant("", ua.VariantType.String)
                for name in ("Stop", "Abort"):
                    assert await client.error(f"{AUTOMATIC}.{name}", *cause) == NOT_OFFERED
                assert await client.trigger("1") == NOT_OFFERED
                ids = "MeasId", "PartId", "RecipeIdExternal", "ProductId"
                nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
                given = [client.an(kind) for kind in ids]
                start = f"{AUTOMATIC}.StartContinuous"
                assert await client.error(start, *given, nothing) == 0
                found = await client.event(lambda event: hasattr(event, "ResultContent"), "none")
                assert found.ResultContent[0].Value == 1

        asyncio.run(whole())
