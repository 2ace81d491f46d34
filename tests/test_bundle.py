"""A bundle is used whole and unaltered, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.camera.files.images import read_pixels
from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle, file_hash, read_bundle
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.bundles.manifest import (
    NAME_DIGITS,
    BundleError,
    canonical,
    content_hash,
    parse_manifest,
)
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.selftest import selftest


def rewrite(folder: Path, **changes: object) -> Path:
    """Change the manifest and rename the folder, as one who wants to deceive would."""
    tree = json.loads((folder / MANIFEST).read_text()) | changes
    raw = (json.dumps(tree, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
    (folder / MANIFEST).write_bytes(raw)
    target = folder.with_name(f"{tree['name']}-{content_hash(raw)[:NAME_DIGITS]}")
    return folder.rename(target)


def resealed(folder: Path, name: str) -> Path:
    """A bundle again after one of its files was changed, its hash and all."""
    files = json.loads((folder / MANIFEST).read_text())["files"]
    return rewrite(folder, files=files | {name: file_hash(folder / name)})


def test_a_bundle_reads_back_as_it_was_written(patchcore: Bundle) -> None:
    again = read_bundle(patchcore.folder)
    assert again.manifest == patchcore.manifest
    assert again.sha256 == content_hash(canonical(patchcore.manifest))
    assert again.folder.name == f"small-{again.sha256[:NAME_DIGITS]}"


def test_a_store_leads_to_its_current_bundle(patchcore: Bundle) -> None:
    assert read_bundle(patchcore.folder.parent).sha256 == patchcore.sha256


def test_arrays_are_the_bytes_that_were_hashed_and_cannot_be_written(patchcore: Bundle) -> None:
    joined = {f"{which}_{what}" for which in ("network", "band") for what in ("mean", "gain")}
    drift = {f"drift_{what}" for what in ("axes", "columns", "known", "mean", "scale", "spread")}
    assert set(patchcore.arrays) == {"bank", "bank_sq", "centre"} | joined | drift
    for name, array in patchcore.arrays.items():
        np.testing.assert_array_equal(array, np.load(patchcore.folder / f"{name}.npy"))
        assert not array.flags.writeable


def test_arrays_stored_by_columns_are_read_as_they_are(own_bundle: Path) -> None:
    bank = np.load(own_bundle / "bank.npy")
    np.save(own_bundle / "bank.npy", np.asfortranarray(bank))
    again = read_bundle(resealed(own_bundle, "bank.npy"))
    np.testing.assert_array_equal(again.arrays["bank"], bank)


def test_what_is_written_into_a_bundle_in_force_changes_no_verdict(own_bundle: Path) -> None:
    frame = Frame(read_pixels(own_bundle / "golden" / "twin-0.png"), 0, 0)
    pipeline = Pipeline(read_bundle(own_bundle))
    before = pipeline.judge(frame)
    for file in [path for path in own_bundle.rglob("*") if path.is_file()]:
        with file.open("r+b") as stream:
            stream.write(bytes(file.stat().st_size))
    after = pipeline.judge(frame)
    assert after.verdict.score == before.verdict.score
    assert after.verdict.outcome == before.verdict.outcome == Outcome.NG
    np.testing.assert_array_equal(after.score_map.values, before.score_map.values)
    selftest(pipeline)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and more",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x01\x00\x04\x00{(((",
        b"x" * 99,
    ],
)
def test_statistics_that_no_parser_takes_are_a_bundle_error(
    own_bundle: Path, content: bytes
) -> None:
    (own_bundle / "bank.npy").write_bytes(content)
    folder = resealed(own_bundle, "bank.npy")
    with pytest.raises(BundleError, match=r"bank\.npy is not a plain array"):
        read_bundle(folder)


def test_statistics_of_too_few_or_too_many_bytes_are_refused(own_bundle: Path) -> None:
    file = own_bundle / "bank.npy"
    whole = file.read_bytes()
    for content in (whole[:-4], whole + b"1234"):
        file.write_bytes(content)
        own_bundle = resealed(own_bundle, "bank.npy")
        file = own_bundle / "bank.npy"
        with pytest.raises(BundleError, match="bytes after its header"):
            read_bundle(own_bundle)


@pytest.mark.parametrize("name", ["features.xml", "features.bin", "golden/good-0.png"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<net"])
def test_a_network_or_a_golden_frame_that_no_parser_takes_is_a_bundle_error(
    own_bundle: Path, name: str, content: bytes
) -> None:
    (own_bundle / name).write_bytes(content)
    folder = resealed(own_bundle, name)
    with pytest.raises(BundleError):
        selftest(Pipeline(read_bundle(folder)))


def test_thresholds_that_would_call_every_defect_ok_are_refused(own_bundle: Path) -> None:
    threshold = json.loads((own_bundle / MANIFEST).read_text())["threshold"]
    folder = rewrite(own_bundle, threshold=threshold | {"ok": threshold["ng"] * 2})
    with pytest.raises(BundleError, match="0 <= ok <= ng"):
        read_bundle(folder)


def test_one_flipped_bit_in_any_file_is_refused(own_bundle: Path) -> None:
    files = sorted(path for path in own_bundle.rglob("*") if path.is_file())
    assert len(files) > 8
    rng = np.random.default_rng(0)
    for file in files:
        whole = file.read_bytes()
        places = {0, len(whole) - 1, *rng.integers(len(whole), size=6).tolist()}
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            with pytest.raises(BundleError) as caught:
                read_bundle(own_bundle)
            assert file.name in str(caught.value) or "manifest" in str(caught.value)
        file.write_bytes(whole)
    read_bundle(own_bundle)


@given(st.data())
def test_any_bit_of_the_manifest_counts(patchcore: Bundle, data: st.DataObject) -> None:
    raw = bytearray((patchcore.folder / MANIFEST).read_bytes())
    place = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(BundleError):
        parse_manifest(patchcore.folder, bytes(raw))


def test_a_missing_file_is_named(own_bundle: Path) -> None:
    (own_bundle / "bank.npy").unlink()
    with pytest.raises(BundleError, match=r"bank\.npy is missing"):
        read_bundle(own_bundle)


@pytest.mark.parametrize("name", ["extra.txt", "golden/extra.png", ".hidden"])
def test_an_extra_file_is_named(own_bundle: Path, name: str) -> None:
    (own_bundle / name).write_text("x")
    with pytest.raises(BundleError, match="does not belong"):
        read_bundle(own_bundle)


def test_a_link_in_place_of_a_file_is_refused(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "bank.npy").rename(tmp_path / "elsewhere.npy")
    (own_bundle / "bank.npy").symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(BundleError, match="not a plain file"):
        read_bundle(own_bundle)


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(own_bundle: Path) -> None:
    (own_bundle / "bank.npy").unlink()
    os.mkfifo(own_bundle / "bank.npy")
    with pytest.raises(BundleError, match="not a plain file"):
        read_bundle(own_bundle)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "golden/../../x", "a//b", "./x"])
def test_a_path_that_leaves_the_folder_is_refused(own_bundle: Path, path: str) -> None:
    files = json.loads((own_bundle / MANIFEST).read_text())["files"]
    folder = rewrite(own_bundle, files=files | {path: "0" * 64})
    with pytest.raises(BundleError, match="leaves the folder"):
        read_bundle(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_an_unknown_schema_version_is_refused_by_number(own_bundle: Path, version: object) -> None:
    folder = rewrite(own_bundle, schema_version=version)
    with pytest.raises(BundleError, match="schema version"):
        read_bundle(folder)


def test_an_unknown_key_in_the_manifest_is_refused(own_bundle: Path) -> None:
    folder = rewrite(own_bundle, surprise=1)
    with pytest.raises(BundleError, match="surprise"):
        read_bundle(folder)


def test_a_manifest_in_another_spelling_is_refused(own_bundle: Path) -> None:
    raw = (own_bundle / MANIFEST).read_bytes() + b"\n"
    (own_bundle / MANIFEST).write_bytes(raw)
    folder = own_bundle.rename(own_bundle.with_name(f"small-{content_hash(raw)[:NAME_DIGITS]}"))
    with pytest.raises(BundleError, match="altered"):
        read_bundle(folder)


def test_a_renamed_folder_is_refused(own_bundle: Path) -> None:
    with pytest.raises(BundleError, match="another name"):
        read_bundle(own_bundle.rename(own_bundle.with_name("small-000000000000")))


def test_a_pickle_is_never_opened(own_bundle: Path) -> None:
    array = np.empty(1, object)
    array[0] = {"code": "here"}
    np.save(own_bundle / "bank.npy", array, allow_pickle=True)
    folder = resealed(own_bundle, "bank.npy")
    with pytest.raises(BundleError, match=r"bank\.npy is object"):
        read_bundle(folder)


def test_statistics_that_do_not_fit_the_geometry_are_refused(own_bundle: Path) -> None:
    bank = np.load(own_bundle / "bank.npy")
    np.save(own_bundle / "bank.npy", np.ascontiguousarray(bank[:, :, :-1]))
    folder = resealed(own_bundle, "bank.npy")
    with pytest.raises(BundleError, match="geometry"):
        Pipeline(read_bundle(folder))


def test_a_network_of_another_shape_is_refused(own_bundle: Path) -> None:
    features = json.loads((own_bundle / MANIFEST).read_text())["features"]
    folder = rewrite(own_bundle, features=features | {"batch": 3})
    with pytest.raises(BundleError, match="the network maps"):
        Pipeline(read_bundle(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(own_bundle: Path, content: bytes) -> None:
    (own_bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        read_bundle(own_bundle)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match="no such folder"):
        read_bundle(tmp_path / "nowhere")


def test_thresholds_set_by_hand_make_a_new_bundle(patchcore: Bundle, tmp_path: Path) -> None:
    record = by_hand(patchcore.manifest.threshold, 1.5, 2.5)
    fresh = rethreshold(patchcore, record, tmp_path)
    assert fresh.sha256 != patchcore.sha256
    assert (fresh.manifest.threshold.ok, fresh.manifest.threshold.ng) == (1.5, 2.5)
    assert fresh.manifest.files == patchcore.manifest.files
    assert read_bundle(tmp_path / "current").sha256 == fresh.sha256
    assert read_bundle(patchcore.folder).sha256 == patchcore.sha256
