"""The process that sets a store's link, however slow the disk."""

from __future__ import annotations

from pathlib import Path

from kenpin.processes.channel import Channel, Stop
from kenpin.runtime.service.inspection.messages import LinkSet

__all__ = ["set_link"]


def set_link(store: Path, folder: Path, channel: Channel[LinkSet, Stop]) -> None:
    """Let `current` lead to a bundle of a store, and say so once the disk has it.

    Raises
    ------
    StoreError
        If there is no such bundle, or the store cannot be written.
    """
    # Here, so that the gateway, which hands `set_link` out, need not load it.
    from kenpin.runtime.bundles.store import Store

    Store(store).switch(folder.name)
    channel.send(LinkSet())
