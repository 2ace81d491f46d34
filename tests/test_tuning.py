"""A box may run a bundle's network its own way; the features stay the same."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.tuning import Tuning, load_tuning, tuning_file
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.doctor import main as edge_doctor
from kenpin.runtime.judging.engine import Engine, EngineError
from kenpin.runtime.judging.network import load_engine
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.tune import write_tuning


@pytest.fixture(scope="module")
def bundle(patchcore, tmp_path_factory):
    """A copy, beside which a box's tuning may lie."""
    folder = tmp_path_factory.mktemp("tuning") / patchcore.folder.name
    return read_bundle(shutil.copytree(patchcore.folder, folder))


def features_of(engine, count=5):
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (count, *engine.input_shape[1:]), np.uint8)

    def fill(first, batch):
        part = tiles[first : first + len(batch)]
        batch[: len(part)] = part
        return len(part)

    return engine.features(fill, count)


@pytest.mark.parametrize(("batch", "streams"), [(1, 1), (3, 2), (8, 1), (1, 3)])
def test_batch_and_streams_change_no_feature(bundle, batch, streams):
    expected, _ = features_of(Engine(bundle.network))
    tuned = Engine(bundle.network, tuning=Tuning(batch=batch, streams=streams))
    assert tuned.batch == batch
    found, filled = features_of(tuned)
    assert filled == 5
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_buffers_are_written_over(bundle):
    engine = Engine(bundle.network)
    buffers = engine.buffers(5)
    assert len(buffers.features) % engine.batch == 0

    def fill(first, batch):
        batch[...] = first
        return min(len(batch), 5 - first)

    found, filled = engine.features(fill, 5, buffers)
    assert filled == 5
    assert found.base is buffers.features
    np.testing.assert_array_equal(found, engine.features(fill, 5)[0])


def test_without_a_tuning_the_bundles_own_batch_is_used(bundle):
    assert load_tuning(bundle.folder) == Tuning()
    assert load_engine(bundle, None).batch == bundle.manifest.features.batch


def test_tune_writes_its_choice_beside_the_bundle_and_the_next_start_uses_it(bundle, capsys):
    file = tuning_file(bundle.folder)
    try:
        arguments = ["tune", str(bundle.folder), "--batches", "1", "2", "--rounds", "3"]
        assert edge_doctor(arguments) == 0
        chosen = load_tuning(bundle.folder)
        assert str(file) in capsys.readouterr().out
        assert chosen.batch in (1, 2)
        assert chosen.measured
        # The bundle itself is as it was, and its golden frames still hold.
        assert load_engine(read_bundle(bundle.folder), None).batch == chosen.batch
        Pipeline(read_bundle(bundle.folder))
    finally:
        file.unlink(missing_ok=True)


def test_a_bundle_with_another_threshold_keeps_the_tuning_of_this_box_alone(bundle, tmp_path):
    tuning = Tuning(batch=2, streams=2)
    write_tuning(bundle.folder, tuning)
    old = bundle.manifest.threshold
    try:
        moved = rethreshold(bundle, by_hand(old, 2 * old.ok, None), bundle.folder.parent)
        assert load_tuning(moved.folder) == tuning
        elsewhere = rethreshold(bundle, by_hand(old, 2 * old.ok, None), tmp_path / "store")
        assert load_tuning(elsewhere.folder) == Tuning()
    finally:
        tuning_file(bundle.folder).unlink()


def test_a_damaged_tuning_is_named(bundle):
    file = tuning_file(bundle.folder)
    file.write_text('{"streams": 0, "speed": 11}')
    try:
        with pytest.raises(ConfigError, match=r"(?s)tuning\.json.*streams.*edge-doctor tune"):
            load_tuning(bundle.folder)
        with pytest.raises(BundleError, match=r"edge-doctor tune"):
            Pipeline(bundle)
    finally:
        file.unlink()


def test_a_device_that_the_box_lacks_is_named(bundle, capsys):
    with pytest.raises(EngineError, match=r"GPU\.7") as found:
        Engine(bundle.network, tuning=Tuning(device="GPU.7"))
    # OpenVINO says it in many lines, the first of them about its own source.
    assert "\n" not in str(found.value)
    assert "Exception from" not in str(found.value)
    assert " failed at src/" not in str(found.value)
    assert edge_doctor(["tune", str(bundle.folder), "--device", "GPU.7"]) == Exit.BUNDLE
    told = capsys.readouterr().err
    assert "`edge-doctor tune` for the CPU" in told
    assert "recompile" not in told
    with pytest.raises(ValueError, match="device"):
        Tuning(device="the fast one")
