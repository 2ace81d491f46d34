"""What mypy must refuse between processes: each line here is wrong, and says what mypy says of it.

Never run. `make lint` reads it: where mypy no longer sees a mistake, its `type: ignore` is
unused, and that is an error (tests/mypy.ini).
"""

from __future__ import annotations

from pathlib import Path

from kenpin.camera.acquisition.events import TakeFrame
from kenpin.processes.channel import Channel, Message, Stop
from kenpin.processes.child import Body, Child
from kenpin.processes.side import SideProcess
from kenpin.runtime.service.inspection.messages import Judge
from kenpin.runtime.service.sides.messages import AddDefects, FromRolls, StartRoll, ToRolls
from kenpin.runtime.service.sides.rolls import keep

__all__: list[str] = []


class _Said(Message, frozen=True):
    text: str


def _told(file: Path, channel: Channel[_Said, Stop]) -> None:
    channel.send(_Said(file.name))
    channel.send(Stop())  # type: ignore[arg-type]
    channel.send(_Said(7))  # type: ignore[arg-type]
    [message] = channel.receive()
    print(message.text)  # type: ignore[attr-defined]


def _handles(rolls: SideProcess[ToRolls, FromRolls], child: Child[Stop, _Said], file: Path) -> None:
    rolls.send(StartRoll("roll", 0))
    rolls.send(StartRoll("roll"))  # type: ignore[call-arg]
    rolls.send(StartRoll(0, "roll"))  # type: ignore[arg-type]
    rolls.send(AddDefects([]))  # type: ignore[arg-type]
    rolls.send(TakeFrame(1, None))  # type: ignore[arg-type]
    child.send(Judge(1, None))  # type: ignore[arg-type]
    child.receive()[0].detail  # type: ignore[attr-defined]  # noqa: B018

    # What a body hears is what its handle sends, and its arguments are those that it takes.
    child = Child(Body("fits", _told, (file,)), Stop, _Said)
    child = Child(Body("hears what it should say", _told, (file,)), _Said, Stop)  # type: ignore[arg-type]
    child = Child(Body("has no file", _told, ()), Stop, _Said)  # type: ignore[arg-type]
    child = Child(Body("has a word for a file", _told, ("file",)), Stop, _Said)  # type: ignore[arg-type]
    rolls = SideProcess(Body("fits", keep, (file, "line")), ToRolls, FromRolls)
    rolls = SideProcess(Body("another's body", _told, (file,)), ToRolls, FromRolls)  # type: ignore[arg-type]
