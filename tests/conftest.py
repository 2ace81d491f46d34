"""What all tests share: one deterministic Hypothesis profile, and one thread for arithmetic."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch
from hypothesis import settings

from bundles import PADIM, Workshop, made_once
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.crew import one_blas_thread
from web_lines import compile_web

# The tests' tensors are small, and OpenMP's threads wait for each other on a
# busy machine: 23 s were seen for 0.07 s of work.
torch.set_num_threads(1)

# The same examples on every machine: a red test is red for everyone.
settings.register_profile("kenpin", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("kenpin")

pytest_plugins = ["gentl_producer"]
pytest.register_assert_rewrite("bridge_promises", "source_contract", "running_line")


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_arithmetic() -> Iterator[None]:
    """OpenBLAS's threads wait for each other, too, here and in processes that tests start."""
    with pytest.MonkeyPatch.context() as patch, one_blas_thread():
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def niceness_as_before() -> Iterator[None]:
    """Commands that stay behind a running line make their process nice, which here is pytest's.

    All that came after them was slow beside other work: a worker once ended at niceness 19.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    yield
    if os.geteuid() == 0 and os.getpriority(os.PRIO_PROCESS, 0) != before:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A service that ran in a test leaves its log behind, which ends with that test's output."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """What a test leaves ignored or blocked, every process that later tests start is deaf to."""
    before = _heeded()
    yield
    if (after := _heeded()) != before:
        handlers, blocked = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        pytest.fail(f"signals were {before}, and are left as {after}")


def _heeded() -> tuple[dict[int, Any], set[Any]]:
    """Handlers of the signals that end a program, and which signals are blocked."""
    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return {number: signal.getsignal(number) for number in endings}, blocked


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Synthetic frames and a recipe for them."""
    return Workshop.at(made_once(tmp_path_factory, "workshop", Workshop.open))


@pytest.fixture(scope="session")
def patchcore(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A PatchCore bundle; tests must not change it."""
    return read_bundle(made_once(tmp_path_factory, "patchcore", workshop.build))


@pytest.fixture(scope="session")
def padim(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A PaDiM bundle with a Gaussian for each pixel column; tests must not change it."""
    made = made_once(tmp_path_factory, "padim", lambda folder: workshop.build(folder, PADIM))
    return read_bundle(made)


@pytest.fixture(scope="session")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle for continuous geometry, 160 px wide; tests must not change it."""
    return read_bundle(made_once(tmp_path_factory, "web", compile_web) / "store")


@pytest.fixture
def own_bundle(patchcore: Bundle, tmp_path: Path) -> Path:
    """A copy of the PatchCore bundle, to damage."""
    return Path(shutil.copytree(patchcore.folder, tmp_path / patchcore.folder.name))
