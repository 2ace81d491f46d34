"""The simulated camera once more under AddressSanitizer and UBSan: memory errors end the run."""

import os
import subprocess
import sys
from pathlib import Path

from gentl_producer import built

HERE = Path(__file__).resolve().parent
FILES = ("test_simulator_stream.py", "test_simulator_faults.py", "test_simulator_formats.py")


def test_the_producer_is_clean_under_the_sanitizers() -> None:
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    environ = os.environ | {
        "KENPIN_SIMULATOR_CTI": str(built(sanitize=True)),
        "LD_PRELOAD": found.stdout.strip(),
        # Python and the binding keep memory to their end; only errors count here.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=86",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=86",
    }
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly",
         *(str(HERE / name) for name in FILES)],
        env=environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = run.stdout + run.stderr
    assert "AddressSanitizer" not in told, told[-4000:]
    assert "runtime error" not in told, told[-4000:]
    assert run.returncode == 0, told[-4000:]
