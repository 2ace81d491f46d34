"""A box that trusts keys takes bundles that one of them signed, and no others."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.compile.cli import main as edge_compile
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.layout import MANIFEST, SIGNATURES
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.bundles.signature import SignatureError, make_key, sign, signer
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.service.cli import main as edge_run
from running_line import PATIENCE_S, RunningLine, line_toml


class Keys:
    """A private key, and a folder that trusts it."""

    def __init__(self, folder: Path, name: str = "plant") -> None:
        folder.mkdir()
        self.private = folder / f"{name}.pem"
        self.public = make_key(self.private)
        self.trust = folder / "trusted"
        self.trust.mkdir()
        shutil.copy(self.public, self.trust)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def others(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "others", "other")


def signed(bundle: Path, *holders: Keys) -> Path:
    for keys in holders:
        assert edge_compile(["sign", str(bundle), "--key", str(keys.private)]) == 0
    return bundle


def test_a_signed_bundle_is_taken_and_an_unsigned_one_is_not(
    own_bundle: Path, keys: Keys, others: Keys
) -> None:
    read_bundle(own_bundle)
    with pytest.raises(BundleError, match=r"signed by 0 keys, none of them trusted here \(plant"):
        read_bundle(own_bundle, keys.trust)
    signed(own_bundle, others)
    with pytest.raises(BundleError, match="signed by 1 keys"):
        read_bundle(own_bundle, keys.trust)
    signed(own_bundle, keys, keys)
    for trust in (None, keys.trust, others.trust):
        read_bundle(own_bundle, trust)
    raw = (own_bundle / MANIFEST).read_bytes()
    assert signer(own_bundle, raw, keys.trust) == "plant.pub"
    assert len(json.loads((own_bundle / SIGNATURES).read_text())) == 2


def test_a_signature_holds_for_one_content_only(
    patchcore: Bundle, own_bundle: Path, keys: Keys, tmp_path: Path
) -> None:
    """Another threshold is another judgement: it must be signed anew."""
    signed(own_bundle, keys)
    old = read_bundle(own_bundle)
    fresh = rethreshold(
        old, by_hand(old.manifest.threshold, 2 * old.manifest.threshold.ok, None), tmp_path / "new"
    )
    with pytest.raises(BundleError, match="signed by 0 keys"):
        read_bundle(fresh.folder, keys.trust)
    shutil.copy(own_bundle / SIGNATURES, fresh.folder)
    with pytest.raises(BundleError, match=r"signature by plant\.pub is not of this content"):
        read_bundle(fresh.folder, keys.trust)


def test_a_changed_file_is_refused_although_the_signature_holds(
    own_bundle: Path, keys: Keys
) -> None:
    signed(own_bundle, keys)
    with (own_bundle / "bank.npy").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    with pytest.raises(BundleError, match="SHA-256"):
        read_bundle(own_bundle, keys.trust)


@given(st.data())
def test_any_bit_of_a_signature_counts(
    patchcore: Bundle, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("bits")
    keys = Keys(folder / "keys")
    raw = (patchcore.folder / MANIFEST).read_bytes()
    identity = sign(folder, raw, keys.private)
    assert signer(folder, raw, keys.trust) == "plant.pub"
    signature = bytearray(base64.b64decode(json.loads((folder / SIGNATURES).read_text())[identity]))
    place = data.draw(st.integers(0, 8 * len(signature) - 1))
    signature[place // 8] ^= 1 << place % 8
    text = base64.b64encode(signature).decode()
    (folder / SIGNATURES).write_text(json.dumps({identity: text}))
    with pytest.raises(SignatureError, match="not of this content"):
        signer(folder, raw, keys.trust)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', "\udcff", "9" * 70_000, '"' + "x" * 70_000]
)
def test_a_damaged_file_of_signatures_is_named(own_bundle: Path, keys: Keys, text: str) -> None:
    (own_bundle / SIGNATURES).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BundleError, match=SIGNATURES):
        read_bundle(own_bundle, keys.trust)


def _no_folder(trust: Path) -> str:
    shutil.rmtree(trust)
    return "expected the folder of trusted public keys"


def _empty(trust: Path) -> str:
    (trust / "plant.pub").unlink()
    return "holds no public key"


def _private(trust: Path) -> str:
    shutil.copy(trust.parent / "plant.pem", trust)
    return "no public key"


def _rsa(trust: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (trust / "a.pub").write_bytes(pem)
    return "not an Ed25519 key"


@pytest.mark.parametrize("spoil", [_no_folder, _empty, _private, _rsa])
def test_a_folder_of_trust_that_cannot_be_read_trusts_nobody(
    own_bundle: Path, keys: Keys, spoil: Callable[[Path], str]
) -> None:
    signed(own_bundle, keys)
    why = spoil(keys.trust)
    with pytest.raises(BundleError, match=why):
        read_bundle(own_bundle, keys.trust)


def test_keys_are_made_once_for_their_owner(
    own_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = tmp_path / "plant.pem"
    assert edge_compile(["key", str(private)]) == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    assert edge_compile(["key", str(private)]) == 3
    assert private.read_bytes() == before
    private.chmod(0o640)
    assert edge_compile(["sign", str(own_bundle), "--key", str(private)]) == 3
    assert "chmod 600" in capsys.readouterr().err
    assert edge_compile(["sign", str(own_bundle), "--key", str(tmp_path / "plant.pub")]) == 3
    assert not (own_bundle / SIGNATURES).exists()


def test_a_store_takes_signed_bundles_only_and_signatures_that_come_later(
    own_bundle: Path, keys: Keys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = line_toml(tmp_path, tmp_path / "bundles")
    toml.write_text(f'trust = "{keys.trust}"\n' + toml.read_text())
    install = ["bundles", "install", str(toml), str(own_bundle), "--files-only"]
    assert edge_run(install) == 5
    assert "edge-compile sign" in capsys.readouterr().err
    assert not (tmp_path / "bundles").exists()
    Store(tmp_path / "bundles").install(own_bundle)
    assert edge_run(["bundles", "list", str(toml), "--verify"]) == 5
    signed(own_bundle, keys)
    assert edge_run(install) == 0
    assert edge_run(["bundles", "list", str(toml), "--verify"]) == 0
    assert (
        edge_compile(["verify", str(own_bundle), "--files-only", "--trust", str(keys.trust)]) == 0
    )


@pytest.mark.clock
def test_a_line_that_trusts_keys_runs_signed_bundles_only(
    own_bundle: Path, keys: Keys, tmp_path: Path
) -> None:
    toml = line_toml(tmp_path, own_bundle)
    toml.write_text(f'trust = "{keys.trust}"\n' + toml.read_text())
    line = RunningLine(toml)
    assert line.process.wait(PATIENCE_S) == 5
    line.close()
    line.logs("edge-compile sign")
    signed(own_bundle, keys)
    with RunningLine(toml) as line:
        line.verdict(lambda m: m["verdict"] == 1)
