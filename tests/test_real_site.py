"""The documentation as a site: a dead link or anchor is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = Path(sys.executable).with_name("zensical")


@pytest.mark.real
@pytest.mark.skipif(not GENERATOR.exists(), reason="no site generator; make docs installs it")
def test_the_site_is_built_without_a_complaint() -> None:
    done = subprocess.run(
        [GENERATOR, "build", "--strict", "--clean"],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    # A constant stands there with the comment above it.
    page = (ROOT / "site" / "reference" / "config" / "index.html").read_text(encoding="utf-8")
    assert 'id="kenpin.config.methods.METHODS"' in page
    assert "further ones are entry points in the group kenpin.methods" in page
