"""edge-run check: the resolved configuration, and everything that will stop or hurt the line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from kenpin.config.bridges import BRIDGES
from kenpin.config.errors import ConfigError
from kenpin.config.line import Line
from kenpin.config.registry import load_object
from kenpin.config.settings import Settings
from kenpin.config.sides import SIDES
from kenpin.config.toml import toml_of
from kenpin.runtime.judging.cores import line_threads
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.service.geometry import HEIGHT_UNKNOWN, geometry_of
from kenpin.runtime.service.ports import taken_twice
from kenpin.runtime.service.sides.archive import lendable

__all__ = ["as_toml", "problems_of"]


def as_toml(tree: Settings) -> str:
    """A settings tree as TOML, defaults included; what is not set is a comment."""
    return toml_of(tree.model_dump(mode="json"))


def problems_of(line: Line) -> list[str]:
    """Each problem in a sentence: what was found, what was expected, what to do."""
    return [
        *_wire(line),
        *_machine(line),
        *_lending(line),
        *_folders(line),
        *_sides(line),
        *_bridges(line),
        *_page(line),
        *(f"camera.producers: {problem}" for problem in _producers(line)),
        *_bundle_and_camera(line),
    ]


def _page(line: Line) -> Iterator[str]:
    if line.page is None:
        return
    missing = [name for name in ("argon2", "starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        yield f"page: {', '.join(missing)} is not installed; pip install 'kenpin[page]'"
        return
    from kenpin.runtime.service.sides.page.accounts import Accounts

    if line.page.accounts is not None:
        try:
            if not Accounts(line.page.accounts).read():
                yield f"page.accounts: {line.page.accounts} knows nobody; edge-run page … add NAME"
        except ConfigError as error:
            yield f"page.accounts: {error}"
    for name in ("certificate", "private_key"):
        file = getattr(line.page, name)
        if file is not None and not file.is_file():
            yield f"page.{name}: {file} is not there"


def _wire(line: Line) -> Iterator[str]:
    from kenpin.runtime.wire.endpoints import EndpointError, check_endpoint, is_local
    from kenpin.runtime.wire.keys import KeysError, read_admitted, read_line

    keys, nobody = line.wire.keys, False
    if keys is not None:
        try:
            read_line(keys, for_owner=True)
            admitted = read_admitted(keys)
            nobody = not admitted.names
            yield from (f"wire.keys: {problem}" for problem in admitted.problems)
        except (KeysError, OSError) as error:
            yield f"wire.keys: {error}"
    named = {"ctl": line.wire.ctl, "pub": line.wire.pub, "img": line.wire.img}
    for name, endpoint in named.items():
        if not endpoint:
            continue
        try:
            check_endpoint(endpoint, keys=keys is not None)
            if nobody and not is_local(endpoint):
                yield (
                    f"wire.{name}: {endpoint} is reachable from outside, yet no client is "
                    f"admitted; edge-run keys client NAME {keys}"
                )
        except EndpointError as error:
            yield f"wire.{name}: {error}"
    yield from taken_twice(line)
    if line.trigger.mode == "software" and not line.wire.ctl:
        yield "wire.ctl: not set, yet trigger.mode is software: nobody could trigger; set it"


def _machine(line: Line) -> Iterator[str]:
    present = os.sched_getaffinity(0)
    wanted = line.inspection.cpus
    missing = sorted(set(wanted or ()) - present)
    if missing:
        yield f"inspection.cpus: cores {missing} are not there; found {sorted(present)}"
    cores = len(present if wanted is None else set(wanted) & present) or 1
    threads = line.inspection.threads
    if threads is not None and threads > cores:
        yield (
            f"inspection.threads: {threads} threads for {cores} cores wait for each other; "
            f"expected at most {cores}"
        )
    if line.ring.slots <= line.trigger.max_in_flight:
        yield (
            f"ring.slots: {line.ring.slots} slots for {line.trigger.max_in_flight} frames in "
            "flight leave none for the next; expected at least one more"
        )


def _lending(line: Line) -> Iterator[str]:
    slots, in_flight = line.ring.slots, line.trigger.max_in_flight
    if line.archive is not None and not lendable(slots, in_flight):
        yield (
            f"ring.slots: {slots} slots leave none to lend to the archive, which would keep "
            f"nothing; expected at least {in_flight + 3}"
        )


def _sides(line: Line) -> Iterator[str]:
    for side in line.sides:
        try:
            kind = SIDES.find(side.kind)
            for path in filter(None, (kind.work, kind.handle)):
                load_object(path)
        except ConfigError as error:
            yield f"sides.{side.called}: {error}"


def _bridges(line: Line) -> Iterator[str]:
    from kenpin.runtime.wire.keys import KeysError, read_client

    for bridge in line.bridges:
        try:
            kind = BRIDGES.find(bridge.kind)
            kind.check_installed()
            load_object(kind.work)
            if bridge.keys is not None:
                read_client(bridge.keys, for_owner=True)
        except (ConfigError, KeysError) as error:
            yield f"bridges.{bridge.called}: {error}"


def _folders(line: Line) -> Iterator[str]:
    for name, spec in (("archive", line.archive), ("rolls", line.rolls)):
        if spec is None:
            continue
        folder = spec.folder
        if not folder.is_dir():
            yield f"{name}.folder: {folder} is no folder; make it, owned by the service's user"
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield f"{name}.folder: {folder} cannot be written by this user; change its owner"


def _bundle_and_camera(line: Line) -> Iterator[str]:
    from kenpin.runtime.bundles.bundle import read_bundle
    from kenpin.runtime.bundles.manifest import BundleError

    bundle = None
    try:
        bundle = read_bundle(line.bundles, line.trust)
    except (BundleError, OSError) as error:
        yield f"bundles: {error}"
    yield from _camera(line, bundle)
    if bundle is None:
        return
    held, needed = line.ring.pixel_bytes, geometry_of(bundle.folder, line.camera).frame_bytes
    if held is None and needed == 0:
        yield HEIGHT_UNKNOWN
    if held is not None and held < needed:
        yield (
            f"ring.pixel_bytes: {held} bytes, a frame of {bundle.label} has {needed}; "
            "raise it or leave it out"
        )
    yield from _fitness(line, bundle)


def _producers(line: Line) -> Iterator[str]:
    """GenTL producers that the camera's settings name and that are not there."""
    for file in getattr(line.camera, "producers", ()):
        if not file.is_file():
            yield f"{file}: no such file; install the camera vendor's GenTL producer, or correct it"


def _camera(line: Line, bundle: Any) -> Iterator[str]:
    from kenpin.camera.files.listing import ImageError
    from kenpin.camera.opening import first_size
    from kenpin.camera.source import CameraError
    from kenpin.runtime.judging.fitting import wrong_size

    try:
        size = first_size(line.camera)
    except (CameraError, ConfigError, ImageError, OSError) as error:
        yield f"camera: {error}"
        return
    if size is None or bundle is None:
        return
    unfit = wrong_size(*size, bundle.manifest.frame)
    if unfit:
        yield f"camera: {unfit} ({bundle.label})"


def _fitness(line: Line, bundle: Any) -> Iterator[str]:
    """Whether this box reproduces the golden frames, and how fast it is."""
    import time

    from kenpin.camera.frame import Frame
    from kenpin.runtime.bundles.manifest import BundleError
    from kenpin.runtime.selftest import golden_pixels, open_tested

    try:
        threads = line_threads(line.inspection.threads, line.inspection.cpus)
        pipeline = open_tested(bundle, web=line.web, execution=Execution(threads=threads))
    except BundleError as error:
        yield f"bundles: {error}"
        return
    pixels = golden_pixels(bundle, bundle.manifest.golden[0].file)
    frame = Frame(pixels, time.monotonic_ns(), 0)
    started = time.monotonic_ns()
    pipeline.judge_single(frame, ready=True)
    spent_ms = (time.monotonic_ns() - started) / 1e6
    if spent_ms > line.trigger.budget_ms:
        yield (
            f"trigger.budget_ms: {line.trigger.budget_ms:g} ms, judging a frame took "
            f"{spent_ms:.1f} ms just now; raise it, or use more threads or a smaller model"
        )
