"""The simulated camera for tests: compiled once a session, met through the real Harvesters."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kenpin.camera.simulator import Simulator, build

__all__ = ["built", "producer", "simulator"]


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kenpinsim-")


@functools.cache
def built(*, sanitize: bool = False) -> Path:
    """The compiled producer, once for the whole session (gcc takes a few seconds)."""
    return build(Path(_folder().name) / ("sanitized" if sanitize else "plain"), sanitize=sanitize)


@pytest.fixture(scope="session")
def producer() -> Path:
    return built()


@pytest.fixture
def simulator(producer: Path) -> Iterator[Simulator]:
    """A camera as it comes out of its box, under control; this process's environment points at it."""
    with Simulator(cti=producer) as running:
        yield running
