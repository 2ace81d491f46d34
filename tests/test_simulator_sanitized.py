"""The simulated camera once more under AddressSanitizer and UBSan: memory errors end the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gentl_producer import built

HERE = Path(__file__).resolve().parent
FILES = ("test_simulator_stream.py", "test_simulator_faults.py", "test_simulator_formats.py")


def library(name: str) -> str:
    asked = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.thorough
def test_the_producer_is_clean_under_the_sanitizers() -> None:
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "KENPIN_SIMULATOR_CTI": str(built(sanitize=True)),
        # The C++ runtime too, for the sanitizer wraps its exceptions, which the binding throws.
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so.6')}",
        # Python and the binding keep memory to their end; only errors count here.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=86",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=86",
    }
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--noconftest", "-p", "gentl_producer",
         "-p", "no:cacheprovider", *(str(HERE / name) for name in FILES)],
        env=environ, cwd=HERE, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = run.stdout + run.stderr
    assert "AddressSanitizer" not in told, told[-4000:]
    assert "runtime error" not in told, told[-4000:]
    assert run.returncode == 0, told[-4000:]
