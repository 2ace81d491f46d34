"""A depot: bundles in a plain folder or a bucket, from which many boxes fetch theirs.

    DEPOT/bundles/web-0123456789ab/…   bundles, as edge-compile wrote and signed them
    DEPOT/lines/web-1.json             an order: which of them that line is to run

An order is signed by whoever may sign bundles, and counted: whoever can only write to the
bucket can neither name another bundle nor bring an earlier order back.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kenpin.camera.files.places import Place, open_place
from kenpin.config.settings import problems
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.durable import lock, make_folder, replace_file
from kenpin.runtime.bundles.layout import MANIFEST, SIGNATURES
from kenpin.runtime.bundles.manifest import BundleError, parse_manifest
from kenpin.runtime.bundles.signature import SignatureError, check_text, sign_text, signer
from kenpin.runtime.bundles.store import Store

__all__ = ["Depot", "DepotError", "Order", "Pulled", "pull"]

# In a store: the serials of the orders that were carried out there, by line.
_DONE = ".orders.json"
_FETCHING = ".fetching"
# An order, and a bundle: more is a mistake, or an attack on the disk.
_ORDER_BYTES = 64 << 10
_BUNDLE_BYTES = 4 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What an order's signature is of: a bundle's begins otherwise.
_PURPOSE = "kenpin order 1"


class DepotError(Exception):
    """The depot holds not what it should: says what was found and what to do."""


class Order(BaseModel):
    """Which bundle a line is to run.

    line    its name
    bundle  the name of the bundle's folder
    serial  each order of a line has a greater one
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: str
    bundle: str
    serial: int = Field(ge=1)

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{_PURPOSE}\n{self.line}\n{self.bundle}\n{self.serial}\n"


class _SignedOrder(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Order
    signatures: dict[str, str] = {}


@dataclass(frozen=True)
class Depot:
    """See the module; `where` is a path or a URL that fsspec knows."""

    place: Place

    @classmethod
    def at(cls, where: str) -> Depot:
        """The depot in a folder or a bucket.

        Raises
        ------
        ConfigError
            If fsspec is not installed or does not know the kind of URL.
        """
        return cls(open_place(where))

    def put(self, bundle: Bundle) -> str:
        """Bring a bundle there; its name. The manifest comes last: with it the bundle is whole."""
        name = bundle.folder.name
        signatures = bundle.folder / SIGNATURES
        for file in (*bundle.manifest.files, *([SIGNATURES] if signatures.exists() else [])):
            self.place.write(f"bundles/{name}/{file}", (bundle.folder / file).read_bytes())
        self.place.write(f"bundles/{name}/{MANIFEST}", (bundle.folder / MANIFEST).read_bytes())
        return name

    def order(self, line: str, bundle: str, key: Path | None) -> Order:
        """Say which bundle a line is to run from now on, signed where there is a key.

        Raises
        ------
        DepotError
            If the depot holds no such bundle, or the name is none.
        """
        _checked("line", line)
        try:
            self.place.size(f"bundles/{_checked('bundle', bundle)}/{MANIFEST}")
        except FileNotFoundError:
            raise DepotError(f"{self.place.url}: holds no {bundle}; publish it first") from None
        before = self._found(line)
        if before is not None and before.signatures and key is None:
            raise DepotError(
                f"{self.place.url}: the order for {line!r} is signed, and boxes that trust its key "
                "would carry out none that is not; sign this one, too (--key)"
            )
        made = Order(line=line, bundle=bundle, serial=1 + (before.order.serial if before else 0))
        signatures = {} if key is None else dict([sign_text(made.text, key)])
        signed = _SignedOrder(order=made, signatures=signatures)
        self.place.write(_file(line), signed.model_dump_json(indent=1).encode())
        return made

    def ordered(self, line: str, trust: Path | None, seen: int = 0) -> Order:
        """What a line is to run.

        Parameters
        ----------
        trust
            Keys, one of which must have signed the order; None takes one that nobody signed.
        seen
            Serial of the last order that was carried out: an earlier one is refused.

        Raises
        ------
        DepotError
            If there is no order, no trusted key has signed it, or it is an earlier one.
        """
        found = self._found(_checked("line", line))
        if found is None:
            raise DepotError(
                f"{self.place.url}: has no order for a line {line!r}; write one with "
                "edge-compile publish --line"
            )
        order = found.order
        _checked("bundle", order.bundle)
        if order.line != line:
            raise DepotError(f"{self.place.url}: the order of {line!r} is for {order.line!r}")
        if trust is not None:
            try:
                check_text(order.text, found.signatures, trust)
            except SignatureError as error:
                raise DepotError(f"{self.place.url}: the order for {line!r} is {error}") from None
        if order.serial < seen:
            raise DepotError(
                f"{self.place.url}: the order for {line!r} is number {order.serial}, and number "
                f"{seen} was carried out before; somebody brought an old one back: write it again"
            )
        return order

    def fetch(self, name: str, folder: Path, trust: Path | None) -> Path:
        """Copy a bundle into a folder of this machine, under its own name there.

        The signature is looked at before anything else is fetched; every byte is verified by
        whoever installs it.

        Raises
        ------
        DepotError
            If it is not whole there.
        BundleError
            If its manifest is none, or no trusted key has signed it.
        """
        target = folder / _checked("bundle", name)
        target.mkdir()
        try:
            raw = self._piece(name, MANIFEST, _BUNDLE_BYTES)
            (target / MANIFEST).write_bytes(raw)
            names = [one for one in self.place.names(f"bundles/{name}") if one == SIGNATURES]
            if names:
                (target / SIGNATURES).write_bytes(self._piece(name, SIGNATURES, _ORDER_BYTES))
            if trust is not None:
                signer(target, raw, trust)
            room = _BUNDLE_BYTES
            for file in parse_manifest(target, raw).files:
                if any(part in ("", ".", "..") for part in file.split("/")):
                    raise BundleError(f"{name}: names {file!r}, which leaves the folder")
                data = self._piece(name, file, room)
                room -= len(data)
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                (target / file).write_bytes(data)
        except FileNotFoundError as error:
            raise DepotError(
                f"{self.place.url}: bundle {name} is not whole there ({error}); publish it again"
            ) from None
        except SignatureError as error:
            raise BundleError(str(error)) from None
        return target

    def _piece(self, name: str, file: str, most: int) -> bytes:
        size = self.place.size(f"bundles/{name}/{file}")
        if size > most:
            raise DepotError(
                f"{self.place.url}: {name}/{file} has {size} bytes, at most {most} are taken"
            )
        return self.place.read(f"bundles/{name}/{file}")

    def _found(self, line: str) -> _SignedOrder | None:
        try:
            if self.place.size(_file(line)) > _ORDER_BYTES:
                raise DepotError(f"{self.place.url}: {_file(line)} is no order, but far larger")
            raw = self.place.read(_file(line))
        except FileNotFoundError:
            return None
        try:
            return _SignedOrder.model_validate(json.loads(raw))
        except ValidationError as error:
            found = problems(error)
        except ValueError as error:
            found = str(error)
        raise DepotError(f"{self.place.url}: {_file(line)} is no order ({found}); write it again")


@dataclass(frozen=True)
class Pulled:
    """What a pull came to.

    bundle    the name of the ordered bundle
    was_here  the store had it, and nothing was fetched
    gone      names of the bundles that were removed
    """

    bundle: str
    was_here: bool
    gone: list[str]


def pull(
    store: Store,
    depot: Depot,
    line: str,
    prove: Callable[[Bundle], object] | None,
    *,
    switch: bool = True,
) -> Pulled:
    """Fetch what is ordered for a line into its store, and keep that and the one before.

    A power cut at any moment leaves the store as it was before, or with the new bundle.

    Parameters
    ----------
    prove
        As in `Store.install`.
    switch
        False leaves `current` as it is, and removes nothing.

    Raises
    ------
    DepotError, BundleError, StoreError, ConfigError
        If the order or the bundle cannot be had or trusted, or the store not be written.
    """
    done, in_force = _done(store.folder), f"{line}: in force"
    order = depot.ordered(line, store.trust, done.get(line, 0))
    # Whoever went back, or put another one into force since, meant it: until the next order.
    due = switch and (order.serial > done.get(in_force, 0) or store.current is None)
    was_here = (store.folder / order.bundle / MANIFEST).is_file()
    make_folder(store.folder)
    with _fetching(store.folder) as folder:
        source = store.folder / order.bundle
        if not was_here:
            source = depot.fetch(order.bundle, folder, store.trust)
        if store.current != order.bundle and (due or not was_here):
            store.install(source, prove=prove, switch=due)
        done |= {line: order.serial} | ({in_force: order.serial} if due else {})
        replace_file(store.folder / _DONE, (json.dumps(done) + "\n").encode())
    return Pulled(order.bundle, was_here, store.prune() if switch else [])


def _done(store: Path) -> dict[str, int]:
    """Serials of the orders that were carried out."""
    try:
        found = json.loads((store / _DONE).read_bytes())
        return {str(line): int(serial) for line, serial in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise DepotError(
            f"{store / _DONE}: damaged; remove it, and see that the next order is the right one"
        ) from None


@contextmanager
def _fetching(store: Path) -> Iterator[Path]:
    """A folder to fetch into, for one pull at a time; what an earlier one left is removed."""
    folder = store / _FETCHING
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not lock(handle, 0):
            raise DepotError(f"{store}: another pull is under way; wait for it")
        for item in folder.iterdir():
            shutil.rmtree(item)
        try:
            yield folder
        finally:
            for item in folder.iterdir():
                shutil.rmtree(item, ignore_errors=True)
    finally:
        os.close(handle)


def _file(line: str) -> str:
    return f"lines/{line}.json"


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DepotError(f"{what} {name!r}: expected letters, digits, dots, dashes and underscores")
    return name
