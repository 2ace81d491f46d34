"""The box has no torch: what runs there imports none of it and needs none of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bundles import Workshop
from kenpin.runtime.bundles.bundle import Bundle

REPOSITORY = Path(__file__).resolve().parent.parent
IMPORT_ALL = """
import importlib, pkgutil, sys
import kenpin.runtime, kenpin.camera, kenpin.config
for package in (kenpin.runtime, kenpin.camera, kenpin.config):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
print(sorted(name for name in ("torch", "nncf", "kenpin.compile", "openvino_telemetry")
             if sys.modules.get(name)))
"""


def test_runtime_camera_and_config_import_no_torch_and_no_telemetry() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_whoever_imports_openvino_silences_its_telemetry_first() -> None:
    """Whichever module is imported first: the order of all of them proves nothing."""
    loud = []
    for room in ("config", "processes", "camera", "runtime", "compile"):
        for file in sorted((REPOSITORY / room).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            first = min((text.find(f"\n{word} openvino") for word in ("import", "from")
                         if f"\n{word} openvino" in text), default=None)  # fmt: skip
            if first is not None and not -1 < text.find("\nsilence()\n") < first:
                loud.append(file.relative_to(REPOSITORY).as_posix())
    assert loud == []


def test_reading_a_bundle_offline_needs_no_torch(patchcore: Bundle) -> None:
    code = (
        "import sys; from kenpin.compile.cli import main; "
        f"code = main(['verify', {str(patchcore.folder)!r}]); "
        "sys.exit(code or ('torch' in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.real
@pytest.mark.timeout(600)
def test_the_base_install_replays_a_bundle(
    patchcore: Bundle, workshop: Workshop, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run(
        [
            venv / "bin" / "python", "-m", "pip", "install", "--quiet",
            "--disable-pip-version-check",
            "-c", REPOSITORY / "constraints.txt", REPOSITORY,
        ],
        check=True,
    )  # fmt: skip
    frozen = subprocess.run(
        [venv / "bin" / "python", "-m", "pip", "freeze"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.lower()
    assert "openvino==" in frozen
    assert "torch" not in frozen
    assert "nncf" not in frozen
    done = subprocess.run(
        [
            venv / "bin" / "edge-replay", workshop.data / "test" / "good",
            "--bundle", patchcore.folder,
        ],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert "4 frames: 4 OK, 0 NG" in done.stdout
