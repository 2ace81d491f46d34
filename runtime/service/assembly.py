"""What a line is made of, put together as its settings say."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from kenpin.camera.acquisition.handle import Acquisition, Opener
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.opening import opener_of
from kenpin.config.line import Line
from kenpin.runtime.bundles.layout import product_of
from kenpin.runtime.judging.cores import line_threads
from kenpin.runtime.service.alarms import Alarms
from kenpin.runtime.service.announcer import Announcer
from kenpin.runtime.service.audit import audit_of
from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.coordinator import Coordinator, TriggerRules
from kenpin.runtime.service.geometry import HEIGHT_UNKNOWN, geometry_of
from kenpin.runtime.service.inspection.changeover import Changeover
from kenpin.runtime.service.inspection.messages import InspectorSpec
from kenpin.runtime.service.inspection.supervisor import HangLimits, Supervisor
from kenpin.runtime.service.ledger import Ledger
from kenpin.runtime.service.line_audit import AuditQueue, settings_of, trusted_of
from kenpin.runtime.service.line_parts import LineParts
from kenpin.runtime.service.line_sockets import LineSockets
from kenpin.runtime.service.logs import LogQueue

__all__ = ["assemble", "fallback_of", "inspector_spec"]

_MS = 1_000_000


def assemble(
    line: Line,
    *,
    opener: Opener | None = None,
    make_pipeline: Callable[..., Any] | None = None,
    log: LogQueue | None = None,
    clock_ns: Callable[[], int] = time.monotonic_ns,
    wall_ns: Callable[[], int] = time.time_ns,
) -> LineParts:
    """The parts of a line, its sockets open; no process is started yet.

    Parameters
    ----------
    opener
        Makes the camera in the acquisition process; by default what the settings say.
    make_pipeline
        As in `InspectorSpec`; tests hand in one that misbehaves.
    clock_ns, wall_ns
        Clocks; nothing is decided by the second.

    Raises
    ------
    EndpointError
        If a socket's address cannot be had.
    NoBundleError
        If there is no bundle that says how large frames are.
    OSError, ValueError
        If nobody says how high they are, or there is no room for them.
    """
    geometry = geometry_of(line.bundles, line.camera)
    pixel_bytes = line.ring.pixel_bytes or geometry.frame_bytes
    if pixel_bytes == 0:
        raise ValueError(HEIGHT_UNKNOWN)
    # A bundle of finer patches may be prepared later; its maps need more space.
    ring = FrameRing(line.ring.slots, pixel_bytes, 4 * geometry.map_bytes)
    opener = opener or opener_of(line.camera, triggered=line.trigger.mode == "software")
    acquisition = Acquisition(opener, ring, clock_ns=clock_ns)
    supervisor = _supervisor(line, ring, make_pipeline, clock_ns)
    ledger = Ledger(resend_ns=round(line.wire.resend_ms * _MS))
    sockets = LineSockets(line.wire, clock_ns)
    boot = str(uuid.uuid4())
    announcer = Announcer(line, boot, sockets, ledger, mono_ns=clock_ns, wall_ns=wall_ns)
    alarms = Alarms(announcer.alarm)
    rules = TriggerRules(
        triggered=line.trigger.mode == "software",
        budget_ns=round(line.trigger.budget_ms * _MS),
        max_in_flight=line.trigger.max_in_flight,
    )
    coordinator = Coordinator(ledger, ring, acquisition, supervisor, announcer, rules, clock_ns)
    return LineParts(
        line=line,
        log=log,
        clock_ns=clock_ns,
        ring=ring,
        ledger=ledger,
        acquisition=acquisition,
        supervisor=supervisor,
        sockets=sockets,
        announcer=announcer,
        coordinator=coordinator,
        changeover=Changeover(supervisor, line.bundles, pixel_bytes),
        alarms=alarms,
        audit=_audit(line),
    )


def _audit(line: Line) -> AuditQueue:
    """The line's log, told what has changed since its last start."""
    log = structlog.get_logger()
    audit = AuditQueue(
        audit_of(line),
        # The journal has each head: whoever makes the log anew cannot make that anew.
        lambda entry: log.info(
            "audit", n=entry.n, what=entry.what, item=entry.item, head=entry.hash
        ),
    )
    started = Who("service")
    audit.note(started, "setting", line.name, settings_of(line))
    for item, hashes in trusted_of(line).items():
        audit.note(started, "key", item, hashes)
    return audit


def _supervisor(
    line: Line,
    ring: FrameRing,
    make_pipeline: Callable[..., Any] | None,
    clock_ns: Callable[[], int],
) -> Supervisor:
    limits = HangLimits(
        round(line.watchdog.hung_ms * _MS),
        round(line.watchdog.kill_ms * _MS),
        round(line.watchdog.start_s * 1000 * _MS),
    )
    return Supervisor(
        inspector_spec(line, make_pipeline),
        ring,
        limits,
        fallback=fallback_of(line.bundles),
        niceness=line.inspection.prepare_niceness,
        clock_ns=clock_ns,
    )


def inspector_spec(line: Line, make_pipeline: Callable[..., Any] | None = None) -> InspectorSpec:
    """What a line's inspection processes are to run; `make_pipeline` as of `assemble`."""
    return InspectorSpec(
        line.bundles,
        trust=line.trust,
        threads=line_threads(line.inspection.threads, line.inspection.cpus),
        cpus=line.inspection.cpus,
        web=line.web,
        drift=line.drift,
        make_pipeline=make_pipeline,
    )


def fallback_of(bundles: Path) -> Path | None:
    """What ran before, if that was made for the same product; None if there is no such bundle.

    bundles  a store, or one bundle's folder
    """
    now, before = (bundles / name for name in ("current", "previous"))
    if not (before.is_symlink() and before.exists()):
        return None
    found = before.resolve()
    return found if product_of(found.name) == product_of(now.resolve().name) else None
