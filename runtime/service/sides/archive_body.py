"""The archive's process: frames out of the ring, files into the folder."""

from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from kenpin.camera.acquisition.ring import FrameRing, StaleTicketError, Ticket
from kenpin.camera.acquisition.ring_frames import frame_in, map_in
from kenpin.camera.files.images import encode_png
from kenpin.config.line import ArchiveSpec
from kenpin.config.text import shorten
from kenpin.processes.channel import Channel
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.service.sides.archive_folder import ArchiveStore, Kind, NoRoomError
from kenpin.runtime.service.sides.messages import ArchiveReport, Lent
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS
from kenpin.runtime.wire.verdict_messages import verdict_fields
from kenpin.runtime.wire.web_messages import WebPart

__all__ = ["VERSION", "Archiving"]

# Of the archive's JSON.
VERSION = 1
# A folder that cannot be had is tried again so often: a disk may be mounted later.
_AGAIN_S = 2.0


class Archiving:
    """Keeps one entry after the other; tells how each ended, and what the archive holds.

    about  what all entries have in common: box, line, cam, boot, sim
    """

    def __init__(
        self,
        spec: ArchiveSpec,
        about: dict[str, Any],
        ring: FrameRing,
        channel: Channel[ArchiveReport, Lent],
    ) -> None:
        self._spec = spec
        self._about = about
        self._ring = ring
        self._channel = channel
        self._store: ArchiveStore | None = None
        self._fault = ""

    def run(self) -> None:
        """Until nobody lends anything any more."""
        while not self._channel.ended:
            if self._store is None:
                self._open()
            self._channel.wait(_AGAIN_S)
            for message in self._channel.receive():
                self._keep(message)
        if self._store is not None:
            self._store.close()

    def _open(self) -> None:
        try:
            self._store = ArchiveStore(self._spec)
            self._fault = ""
        except OSError as error:
            self._fault = self._sentence(error)
        self._tell(None)

    def _keep(self, frame: Lent) -> None:
        kind: Kind = "ok" if frame.verdict.outcome is Outcome.OK else "ng"
        why = ""
        try:
            if self._store is None:
                why = "not_ready"
            else:
                self._store.keep(kind, self._parts(frame))
                self._fault = ""
        except NoRoomError as error:
            why = "no_room"
            # That NG entries fill an archive is no fault; that they find no room is.
            self._fault = "" if kind == "ok" else str(error)
        except StaleTicketError:
            why = "stale"
        except OSError as error:
            why, self._fault = "disk", self._sentence(error)
        self._tell(frame.ticket, kind, why)

    def _parts(self, lent: Lent) -> dict[str, bytes]:
        frame = frame_in(self._ring, lent.ticket)
        found = map_in(self._ring, lent.ticket) if lent.with_map else None
        parts = {"png": encode_png(frame.pixels)}
        described = None
        if found is not None:
            values, header = found
            stream = io.BytesIO()
            np.save(stream, values, allow_pickle=False)
            parts["npy"] = stream.getvalue()
            described = {"rows": header.rows, "columns": header.columns}
            described |= {"stride_px": header.stride_px}
            web = lent.verdict.web
            if web is not None and web.map_line is not None:
                # Of the web: a map is about lines that came with the frame before, too.
                described |= {"first_line": web.map_line}
                described |= {"frame_line": web.came_line - len(frame.pixels)}
        entry = {
            "version": VERSION,
            **self._about,
            # A label for people: wall clocks jump, so nothing is sorted by it.
            "written": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "written_monotonic_ns": time.monotonic_ns(),
            "image": {
                "shape": list(frame.pixels.shape),
                "bits": 8 * frame.pixels.itemsize,
                **asdict(frame.capture),
            },
            "map": described,
            "verdict": _kept(lent),
        }
        return parts | {"json": json.dumps(entry, indent=1).encode() + b"\n"}

    def _tell(self, ticket: Ticket | None, kind: str = "", why: str = "") -> None:
        store = self._store
        self._channel.send(
            ArchiveReport(
                ticket=ticket,
                kind=kind,
                dropped=why,
                ready=store is not None,
                fault=shorten(self._fault, MAX_DETAIL_CHARS),
                counts=store.counts if store else {},
            )
        )

    def _sentence(self, error: OSError) -> str:
        return f"{self._spec.folder}: {error.strerror or error}; entries are dropped until it works"


def _kept(lent: Lent) -> dict[str, Any]:
    """A verdict as it stands in the archive, whatever the wire speaks."""
    verdict = lent.verdict
    fields = verdict_fields(verdict)
    web: WebPart | None = fields.pop("web")
    return {
        "seq": lent.seq,
        "trig": lent.trig,
        **fields,
        "verdict": verdict.outcome.name,
        "defects": [asdict(defect) for defect in verdict.defects],
        "web": None if web is None else web.model_dump(mode="json"),
        "stages_us": dict(verdict.stages_us),
        "opened_ns": lent.opened_ns,
        "captured_ns": verdict.captured_ns,
        "judged_ns": verdict.judged_ns,
        "deadline_ns": lent.deadline_ns,
    }
