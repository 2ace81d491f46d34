"""The Modbus bridge's process: pymodbus' server in front of a dialogue, the line behind it.

The one module that knows pymodbus.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from kenpin.config.bridges import ModbusSettings
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.bridges.modbus.dialogue import ModbusDialogue
from kenpin.runtime.bridges.modbus.registers import CONTROL, CONTROL_AT, END, STATUS_AT
from kenpin.runtime.bridges.process import Bridged
from kenpin.runtime.wire.client import Heard

__all__ = ["serve"]

# A port that is taken is tried again so often.
_AGAIN_S = 2.0
_LOOK_S = 0.1
# Answers that a client has not read; an honest one has a single request under way.
_UNREAD_BYTES = 64 * 1024


async def serve(settings: ModbusSettings, bridged: Bridged) -> None:
    """The whole bridge; see `kenpin.runtime.bridges.process.BridgeWork`."""
    # It writes a line for each frame that makes no sense: a flood of them would fill the log.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    link: LineLink

    def say(kind: str, **fields: Any) -> None:
        if kind == "hello":
            link.begin(fields["session"])
        else:
            link.say(kind, **fields)

    dialogue = ModbusDialogue(bridged.facts, settings, say)

    def hear(message: Heard | Unsaid) -> None:
        dialogue.heard(message, time.monotonic_ns())

    link = bridged.link(hear)
    opening = asyncio.create_task(_keep_open(settings, dialogue, bridged))
    try:
        await bridged.until_end()
    finally:
        opening.cancel()
        link.close()


async def _keep_open(settings: ModbusSettings, dialogue: ModbusDialogue, bridged: Bridged) -> None:
    """Listen, and again whenever that fails; see to the session and tell what is wrong."""
    where = f"{settings.address}:{settings.port}"
    server: _ModbusServer | None = None
    next_try_s = 0.0
    fault = ""
    while True:
        if server is None and time.monotonic() >= next_try_s:
            next_try_s = time.monotonic() + _AGAIN_S
            server, fault = await _listen(settings, dialogue)
        if server is not None:
            server.close_idle(time.monotonic())
        dialogue.greet_again()
        bridged.tell(address=f"modbus://{where}", fault=fault or dialogue.shown.line.refusal)
        await asyncio.sleep(_LOOK_S)


async def _listen(
    settings: ModbusSettings, dialogue: ModbusDialogue
) -> tuple[_ModbusServer | None, str]:
    server = _ModbusServer(settings, dialogue)
    if await server.listen():
        return server, ""
    server.close()
    where = f"{settings.address}:{settings.port}"
    return None, f"{where} cannot be had: taken, or not allowed; stop its owner or change port"


def _device(dialogue: ModbusDialogue) -> SimDevice:
    """Every unit id is this device: PLCs differ in which one they send to a TCP server."""

    async def look(
        _function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        now_ns = time.monotonic_ns()
        if values is not None:
            dialogue.written(address, [int(value) for value in values])
        image = dialogue.shown.image(now_ns)
        registers[address - start : address - start + count] = image[address : address + count]
        return None

    control = SimData(CONTROL_AT, count=CONTROL.size, values=0, datatype=DataType.REGISTERS)
    shown = SimData(
        STATUS_AT, count=END - STATUS_AT, values=0, datatype=DataType.REGISTERS, readonly=True
    )
    return SimDevice(id=0, simdata=[control, shown], action=look)


class _ModbusServer(ModbusTcpServer):
    """Lets in whom the settings allow, and not too many at once."""

    def __init__(self, settings: ModbusSettings, dialogue: ModbusDialogue) -> None:
        super().__init__(_device(dialogue), address=(settings.address, settings.port))
        self._most = settings.max_connections
        self._idle_s = settings.idle_s
        self._allowed = [ipaddress.ip_network(entry) for entry in settings.allow]
        # Whether each has asked anything that makes sense, and when it was last heard.
        self.inside: dict[_Connection, tuple[bool, float]] = {}

    def callback_new_connection(self) -> _Connection:
        """Somebody calls."""
        return _Connection(self, None, None, None)  # type: ignore[no-untyped-call]

    def lets_in(self, peer: str) -> bool:
        """Whether somebody at this address may speak."""
        address = ipaddress.ip_address(peer)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return not self._allowed or any(address in network for network in self._allowed)

    def entered(self, connection: _Connection) -> None:
        """One more; one that never made sense, or was silent longest, makes room for it."""
        if len(self.inside) >= self._most:
            min(self.inside, key=self.inside.__getitem__).hang_up()
        self.inside[connection] = False, time.monotonic()

    def close_idle(self, now_s: float) -> None:
        """Hang up on whoever has gone without a word, such as a PLC that lost its power."""
        for connection, (_, heard_s) in list(self.inside.items()):
            if now_s - heard_s > self._idle_s:
                connection.hang_up()


class _Connection(ServerRequestHandler):
    """One client."""

    server: _ModbusServer

    def callback_connected(self) -> None:
        """It is there, allowed or not."""
        super().callback_connected()
        peer = self.transport.get_extra_info("peername")
        if self.server.lets_in(peer[0]):
            self.server.entered(self)
        else:
            self.hang_up()

    def callback_disconnected(self, exc: Exception | None) -> None:
        """It has gone."""
        self.server.inside.pop(self, None)
        super().callback_disconnected(exc)

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        """It says something; whoever asks and never reads is hung up on."""
        if self not in self.server.inside:
            return len(data)
        transport = self.transport
        assert isinstance(transport, asyncio.Transport)
        if transport.get_write_buffer_size() > _UNREAD_BYTES:
            self.hang_up()
            return len(data)
        used = super().callback_data(data, addr)
        if self in self.server.inside:
            self.server.inside[self] = bool(self.last_pdu), time.monotonic()
        return used

    def hang_up(self) -> None:
        """End it at once, whatever it has not read."""
        self.server.inside.pop(self, None)
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
