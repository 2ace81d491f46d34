"""The OPC UA bridge as a process, and asyncua's client before it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, Node, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from bridge_process import BridgeProcess, free_port, lying_facts
from bridge_promises import check_every_promise
from kenpin.config.bridge_opcua import OpcuaSettings
from kenpin.runtime.bridges.opcua.access import make_certificate, set_user
from kenpin.runtime.bridges.opcua.structures import define_structures
from kenpin.runtime.plc.faults import Fault
from lying_line import LyingLine
from test_bridges import Each, inspect, until

pytestmark = pytest.mark.clock


@contextlib.contextmanager
def opcua(line: LyingLine, **settings: object) -> Iterator[tuple[OpcuaSettings, BridgeProcess]]:
    """A bridge that listens."""
    found = OpcuaSettings.model_validate({"kind": "opcua", "port": free_port()} | settings)
    with BridgeProcess(found, lying_facts(line)) as process:
        until(lambda: any(t.address for t in process.reports), f"the bridge: {process.fault}")
        yield found, process


@pytest.mark.thorough
def test_every_promise_holds_through_opcua_whatever_goes_wrong(tmp_path: Path) -> None:
    with LyingLine(tmp_path) as line, opcua(line) as (settings, process):
        watch = inspect(line, settings, process, Each(Fault.BROKER_AWAY), parts=50)
        assert process.process.restarts == 1
    check_every_promise(watch, 50)


async def good(node: Node) -> Any:
    """A variable's value, once the bridge has heard its line."""
    async with asyncio.timeout(10):
        while True:
            found = await node.read_data_value(raise_on_bad_status=False)
            if found.StatusCode.is_good():
                return found.Value.Value
            await asyncio.sleep(0.02)


@pytest.mark.thorough
def test_nobody_enters_without_a_trusted_certificate_and_a_password(tmp_path: Path) -> None:
    trusted, today = tmp_path / "trusted", datetime.datetime.now(datetime.UTC)
    own, secret = make_certificate(tmp_path, "box-7", ["127.0.0.1"], today=today)
    make_certificate(trusted, "plc", [], today=today)
    make_certificate(tmp_path, "stranger", [], today=today)
    users = tmp_path / "users"
    set_user(users, "plc", "long enough")
    how = {"certificate": own, "private_key": secret, "trusted": trusted, "users": users}
    with LyingLine(tmp_path) as line, opcua(line, **how) as (settings, _):
        url = f"opc.tcp://127.0.0.1:{settings.port}"

        async def heartbeat(folder: Path, name: str, password: str) -> Any:
            client = Client(url, timeout=10)
            client.application_uri = f"urn:kenpin:{name}"
            client.set_user("plc")
            client.set_password(password)
            await client.set_security(
                SecurityPolicyBasic256Sha256,
                folder / f"{name}.pem",
                CertProperties(folder / f"{name}.key", "pem"),
                own,
            )
            async with client:
                index = await client.get_namespace_index("urn:kenpin:line")
                return await good(client.get_node(f"ns={index};s=VisionSystem.Line.Heartbeat"))

        async def plain() -> None:
            async with Client(url, timeout=10):
                pass

        assert asyncio.run(heartbeat(trusted, "plc", "long enough")) > 0
        for way in (
            heartbeat(trusted, "plc", "wrong password"),
            heartbeat(tmp_path, "stranger", "long enough"),
            plain(),
        ):
            with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
                asyncio.run(way)
        shutil.move(trusted / "plc.pem", tmp_path)
        shutil.move(trusted / "plc.key", tmp_path)
        with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
            asyncio.run(heartbeat(tmp_path, "plc", "long enough"))


@pytest.mark.thorough
def test_a_generic_client_needs_none_of_our_own_nodes(tmp_path: Path) -> None:
    """State, StartSingleJob and ResultReadyEvent, as the specification has them."""
    with LyingLine(tmp_path) as line, opcua(line) as (settings, _):
        asyncio.run(_generic(f"opc.tcp://127.0.0.1:{settings.port}"))


async def _generic(url: str) -> None:
    heard: list[Any] = []

    class Ear:
        def event_notification(self, event: Any) -> None:
            heard.append(event)

    async with Client(url, timeout=10) as client:
        own = await client.get_namespace_index("urn:kenpin:line")
        index = await client.get_namespace_index("http://opcfoundation.org/UA/MachineVision")
        types = define_structures(index)
        system = client.get_node(f"ns={own};s=VisionSystem")
        machine = client.get_node(f"ns={own};s=VisionSystem.VisionStateMachine")
        automatic = await machine.get_child(f"{index}:AutomaticModeStateMachine")
        for node, name in ((machine, "Operational"), (automatic, "Ready")):
            state = await good(await node.get_child("0:CurrentState"))
            assert state.Text == name
        subscription = await client.create_subscription(10, Ear())
        await subscription.subscribe_events(system, ua.NodeId(1024, index))
        empty = ua.Variant([], ua.VariantType.Variant, is_array=True)
        job, error = await automatic.call_method(
            f"{index}:StartSingleJob", types["MeasIdDataType"](Id="4711"),
            types["PartIdDataType"](Id="left"), types["RecipeIdExternalDataType"](Id=""),
            types["ProductIdDataType"](Id=""), empty,
        )  # fmt: skip
        assert (error, job.Id.endswith(".4711")) == (0, True)
        async with asyncio.timeout(10):
            while not heard:
                await asyncio.sleep(0.01)
        event = heard[0]
        assert (event.MeasId.Id, event.PartId.Id, event.JobId.Id) == ("4711", "left", job.Id)
        assert [value.Value for value in event.ResultContent][:3] == [1, 0, "ok"]
        results = await system.get_child(f"{index}:ResultManagement")
        _, result, error = await results.call_method(
            f"{index}:GetResultById", event.ResultId, ua.Variant(0, ua.VariantType.Int32)
        )
        assert (error, result.ResultId.Id) == (0, event.ResultId.Id)


def test_where_the_line_is_silent_every_value_is_bad(tmp_path: Path) -> None:
    with LyingLine(tmp_path, "silent") as line, opcua(line) as (settings, _):

        async def status() -> Any:
            async with Client(f"opc.tcp://127.0.0.1:{settings.port}", timeout=10) as client:
                own = await client.get_namespace_index("urn:kenpin:line")
                node = client.get_node(f"ns={own};s=VisionSystem.Line.Heartbeat")
                value = await node.read_data_value(raise_on_bad_status=False)
                return value.StatusCode

        until(lambda: not asyncio.run(status()).is_good(), "the heartbeat stays good")
