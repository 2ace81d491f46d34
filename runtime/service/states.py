"""Where the line stands, told from what is known of its facts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kenpin.camera.acquisition.events import CameraState
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["LineFacts", "state_of"]


@dataclass(frozen=True, slots=True)
class LineFacts:
    """What the state depends on.

    proven      a bundle has passed its golden frames since the service started
    inspecting  an inspection process is ready and shows signs of life
    restarting  one is being started, and will be ready without anybody's doing
    refusal     nothing is judged until a RESET, because the self-test failed
    camera      where the camera stands
    triggered   frames are taken on triggers
    accepts     one more trigger may come now
    stopping    the service ends
    """

    proven: bool
    inspecting: bool
    restarting: bool
    refusal: bool
    camera: CameraState
    triggered: bool
    accepts: bool
    stopping: bool


def state_of(facts: LineFacts) -> State:
    """The state, in the words of OPC 40100-1. READY and CONTINUOUS need every part to work."""
    if facts.stopping:
        return State.HALTED
    if facts.refusal:
        return State.ERROR
    if not facts.inspecting:
        return State.PREOPERATIONAL if facts.restarting and not facts.proven else State.ERROR
    if facts.camera in (CameraState.STALLED, CameraState.LOST, CameraState.REOPENING):
        return State.ERROR
    if facts.camera is CameraState.FAILED:
        return State.ERROR
    if facts.camera in (CameraState.OPENING, CameraState.CONFIGURING, CameraState.ENDED):
        return State.INITIALIZED
    if not facts.triggered:
        return State.CONTINUOUS
    return State.READY if facts.accepts else State.SINGLE
