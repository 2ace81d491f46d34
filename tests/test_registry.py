"""Names lead to built-in things and to those of installed packages, and to nothing by mistake."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge_process import BridgeProcess
from kenpin.camera.files.images import write_png
from kenpin.camera.record_cli import main as record_main
from kenpin.compile.layouts import LAYOUTS, laid_out
from kenpin.compile.recipe_search.attempt import few
from kenpin.config.bridges import BRIDGES
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.config.methods import METHODS, Method, MethodSettings
from kenpin.config.recipe import load_recipe
from kenpin.config.registry import load_object
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.scoring import load_scorer

PATIENCE_S = 60.0

RECIPE = """
name = "small"
images = {{ good = "photos" }}
frame = {{ height_px = 128, width_px = 320 }}
method = {{ {method} }}
"""

PACKAGE = """
from typing import Literal
from kenpin.config.methods import Method, MethodSettings

class Settings(MethodSettings):
    name: Literal["nearest_mean"]
    power: float = 2.0

    def unfit_for_masks(self) -> str:
        return "nearest_mean knows no masks"

    def at_a_glance(self):
        return self.model_copy(update={{"power": 1.0}})

METHOD = Method(Settings, "{module}:load", "{module}:FITTING")
OTHER = 1
"""


def install(folder: Path, monkeypatch, module: str, points: str, code: str = PACKAGE) -> None:
    """Lay a package and its entry points where Python finds installed ones."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(code.format(module=module))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(folder))


def recipe(folder: Path, method: str):
    file = folder / "recipe.toml"
    file.write_text(RECIPE.format(method=method))
    return load_recipe(file)


def test_an_installed_method_is_set_in_a_recipe_like_a_built_in_one(tmp_path, monkeypatch):
    install(
        tmp_path / "site", monkeypatch, "nearest", "[kenpin.methods]\nnearest_mean=nearest:METHOD\n"
    )
    assert {"baseline", "imported", "nearest_mean", "padim", "patchcore"} <= set(METHODS.names())
    found = recipe(tmp_path, 'name = "nearest_mean", power = 3, share = "column"')
    assert found.method.model_dump() == {"name": "nearest_mean", "power": 3.0, "share": "column"}
    assert found.model_dump(mode="json")["method"]["power"] == 3.0
    # A search asks the method itself, whoever brought it, what a first glance may leave out.
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    assert few(found).method.model_dump()["power"] == 1.0
    with pytest.raises(ConfigError, match=r"method\.powre: unknown key"):
        recipe(tmp_path, 'name = "nearest_mean", powre = 3')
    with pytest.raises(ConfigError, match="knows no masks"):
        load_recipe(tmp_path / "recipe.toml", ['method={name="nearest_mean"}', "images.mask=a.png"])


def test_what_is_not_installed_is_refused_with_the_names_that_are(tmp_path):
    with pytest.raises(
        ConfigError, match="method: method 'vae' is not known; expected one of: base"
    ):
        recipe(tmp_path, 'name = "vae"')
    with pytest.raises(
        ConfigError, match="method: name is missing; expected one of: baseline, cflow, dfm, "
    ):
        recipe(tmp_path, 'share = "tile"')


def test_a_package_that_cannot_be_imported_is_named_and_harms_nobody_else(tmp_path, monkeypatch):
    code = "raise RuntimeError('no licence')"
    install(tmp_path / "site", monkeypatch, "broken", "[kenpin.methods]\nsad=broken:M\n", code)
    with pytest.raises(ConfigError, match=r"broken:M of the package broken.*no licence.*uninstall"):
        METHODS.find("sad")
    assert recipe(tmp_path, 'name = "padim"').method.name == "padim"


def test_a_package_cannot_take_a_built_in_name_nor_share_one(tmp_path, monkeypatch):
    points = "[kenpin.methods]\npadim={0}:METHOD\nshared={0}:METHOD\n"
    for module in ("first", "second"):
        install(tmp_path / "site", monkeypatch, module, points.format(module))
    assert METHODS.find("padim").scorer == "kenpin.runtime.judging.padim:load_padim"
    with pytest.raises(ConfigError, match=r"'shared' is claimed by .*first and .*second"):
        METHODS.find("shared")


def test_a_name_that_leads_to_another_kind_of_thing_is_refused(tmp_path, monkeypatch):
    install(tmp_path / "site", monkeypatch, "odd", "[kenpin.methods]\nodd=odd:OTHER\n")
    with pytest.raises(ConfigError, match="odd:OTHER of the package odd is a int, expected a Meth"):
        METHODS.find("odd")


def test_a_method_whose_half_is_missing_is_refused_by_the_box(tmp_path, monkeypatch):
    install(tmp_path / "site", monkeypatch, "half", "[kenpin.methods]\nhalf=half:METHOD\n")
    with pytest.raises(ConfigError, match=r"half:load cannot be loaded \(AttributeError"):
        load_object(METHODS.find("half").scorer)
    with pytest.raises(BundleError, match=r"method half: half:load cannot be loaded"):
        load_scorer({}, MethodSettings(name="half"), None, None)


def test_every_built_in_name_leads_somewhere():
    for name in ("padim", "patchcore"):
        method = METHODS.find(name)
        assert isinstance(method, Method)
        assert callable(load_object(method.scorer))
        assert load_object(method.fitting).fit


CAMERA = """
from typing import ClassVar, Literal
from kenpin.config.camera import CameraSettings, Origin, Source

class Settings(CameraSettings):
    kind: Literal["stripes"]
    height_px: int = 64

    @property
    def frame_lines(self):
        return self.height_px

SOURCE = Source(Settings, "{module}:open_stripes")
"""


def test_an_installed_camera_is_set_in_a_line_and_is_a_real_one_unless_it_says_otherwise(
    tmp_path, monkeypatch, capsys
):
    points = "[kenpin.sources]\nstripes=stripy:SOURCE\n"
    install(tmp_path / "site", monkeypatch, "stripy", points, CAMERA)
    toml = tmp_path / "line.toml"
    toml.write_text(
        'name="l"\nbox="b"\nbundles="x"\ntrigger={mode="free",budget_ms=9}\n'
        '[camera]\nkind="stripes"\n'
    )
    line = load_line(toml)
    assert line.camera.frame_lines == 64
    assert not line.simulated
    assert record_main([str(toml), "-o", str(tmp_path / "out")]) == Exit.CONFIG
    assert "stripes: does not say how large its frames are" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"camera\.height_px: Input should be a valid integer"):
        load_line(toml, ["camera.height_px=many"])
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="camera 'stripes' is not known"):
        load_line(toml)


BRIDGE = """
from typing import Literal
from kenpin.config.bridges import BridgeKind, BridgeSettings

class Settings(BridgeSettings):
    kind: Literal["semaphore"]
    mast: int = 3

async def wave(settings, bridged):
    bridged.tell(address=f"mast {{settings.mast}}")
    await bridged.until_end()

KIND = BridgeKind(Settings, "{module}:wave")
"""


@pytest.mark.clock
def test_an_installed_bridge_is_set_in_a_line_and_is_its_process(tmp_path, monkeypatch):
    points = "[kenpin.bridges]\nsemaphore=waving:KIND\n"
    install(tmp_path / "site", monkeypatch, "waving", points, BRIDGE)
    assert BRIDGES.names() == ["modbus", "mqtt", "opcua", "semaphore", "sparkplug"]
    toml = tmp_path / "line.toml"
    toml.write_text(
        'name="l"\nbox="b"\nbundles="x"\ntrigger={mode="free",budget_ms=9}\n'
        'camera={kind="synthetic",height_px=64,width_px=96,rate_hz=1}\n'
        '[[bridges]]\nkind="semaphore"\nmast=7\n'
    )
    settings: Any
    (settings,) = load_line(toml).bridges
    assert (settings.called, settings.mast) == ("semaphore", 7)
    with pytest.raises(ConfigError, match=r"bridges\.0\.masts: unknown key"):
        load_line(toml, ["bridges=[{kind='semaphore',masts=1}]"])
    facts = BridgedLine("b", "l", False, 9, "ipc://c", "ipc://p", "msgpack", "msgpack")
    with BridgeProcess(settings, facts) as bridge:
        end = time.monotonic() + PATIENCE_S
        while "mast 7" not in [report.address for report in bridge.reports]:
            assert time.monotonic() < end, bridge.reports
            time.sleep(0.01)


LAYOUT = """
from kenpin.compile.layouts.base import DatasetLayout, LabelledImage

def looks_like(folder):
    return (folder / "hole.png").is_file()

def read(folder, category):
    for file in sorted(folder.glob("*.png")):
        yield LabelledImage(file, file.name, "hole" if "hole" in file.name else "good")

LAYOUT = DatasetLayout("*.png, those with a hole called so", looks_like, read)
"""


def test_an_installed_layout_is_laid_out_like_a_built_in_one(tmp_path, monkeypatch):
    points = "[kenpin.layouts]\nby_name=named:LAYOUT\n"
    install(tmp_path / "site", monkeypatch, "named", points, LAYOUT)
    assert "by_name" in LAYOUTS.names()
    (tmp_path / "photos").mkdir()
    for number in range(9):
        write_png(tmp_path / "photos" / f"{number}.png", np.full((8, 8), number, np.uint8))
    write_png(tmp_path / "photos" / "hole.png", np.zeros((8, 8), np.uint8))
    folder = laid_out(tmp_path / "photos", "by_name", cache=tmp_path / "cache")
    assert [file.name for file in (folder / "test" / "hole").iterdir()] == ["hole.png"]
    good = [*(folder / "train" / "good").iterdir(), *(folder / "test" / "good").iterdir()]
    assert sorted(file.name for file in good) == [f"{number}.png" for number in range(9)]
