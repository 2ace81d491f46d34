"""Who vouches for a bundle: Ed25519 signatures of its content hash, and the keys a box trusts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from kenpin.config.errors import ConfigError, OutputError
from kenpin.runtime.bundles.durable import replace_file
from kenpin.runtime.bundles.layout import SIGNATURES

__all__ = ["SignatureError", "check_text", "make_key", "sign", "sign_text", "signer"]

# What is signed begins so: a signature of anything else is none of a bundle.
_PURPOSE = b"kenpin bundle 1\n"
_MOST_BYTES = 64 * 1024


class SignatureError(ValueError):
    """No trusted key vouches for the bundle: says why, and what to do."""


def make_key(private: Path) -> Path:
    """Make a key pair: PEM files, the private one for its owner only; the public one's path.

    Raises
    ------
    ConfigError
        If one of the files is there already or cannot be made: then neither is left.
    """
    key = Ed25519PrivateKey.generate()
    public = private.with_suffix(".pub")
    if private == public:
        raise ConfigError(
            f"{private}: ends in .pub, as public keys do; name the private one, such as "
            f"{private.with_suffix('.pem')}"
        )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    open_ = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made: list[Path] = []
    try:
        for path, data, mode in ((private, secret, 0o600), (public, open_, 0o644)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            made.append(path)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise ConfigError(
                f"{error.filename}: is there already; a key is never overwritten, give another name"
            ) from None
        raise OutputError(f"{error.filename or private}: {error.strerror}") from None
    return public


def sign(folder: Path, manifest: bytes, private: Path) -> str:
    """Add a signature to a bundle, in place of an earlier one by the same key; the key's id.

    Raises
    ------
    ConfigError
        If the file holds no Ed25519 private key, or others may read it.
    """
    key = _private_key(private)
    identity = _identity(key.public_key())
    found = _read(folder)
    found[identity] = base64.b64encode(key.sign(_message(manifest))).decode()
    replace_file(folder / SIGNATURES, (json.dumps(found, indent=1, sort_keys=True) + "\n").encode())
    return identity


def signer(folder: Path, manifest: bytes, trust: Path) -> str:
    """The name of the trusted key that vouches for a bundle.

    Parameters
    ----------
    manifest
        The bytes of the bundle's manifest, which names every other file's hash.
    trust
        A folder of public keys, one PEM file each. Other files are an error.

    Raises
    ------
    SignatureError
        If there is no signature by any of them, or a wrong one.
    """
    try:
        found = _read(folder)
    except ConfigError as error:
        raise SignatureError(str(error)) from None
    try:
        return _voucher(_message(manifest), found, trust)
    except SignatureError as error:
        raise SignatureError(
            f"{folder}: {error}; copy the bundle again, or have it signed with edge-compile sign"
        ) from None


def sign_text(text: str, private: Path) -> tuple[str, str]:
    """The id of a key, and its signature of a text that begins with what it is for.

    Raises
    ------
    ConfigError
        As `sign`.
    """
    key = _private_key(private)
    return _identity(key.public_key()), base64.b64encode(key.sign(text.encode())).decode()


def check_text(text: str, signatures: Mapping[str, str], trust: Path) -> str:
    """The name of the trusted key that has signed a text.

    Raises
    ------
    SignatureError
        If there is no signature by any of them, or a wrong one.
    """
    return _voucher(text.encode(), signatures, trust)


def _voucher(message: bytes, found: Mapping[str, str], trust: Path) -> str:
    keys = _trusted(trust)
    for identity, (name, key) in keys.items():
        if identity in found:
            try:
                key.verify(base64.b64decode(found[identity], validate=True), message)
            except (InvalidSignature, binascii.Error):
                raise SignatureError(f"the signature by {name} is not of this content") from None
            return name
    names = ", ".join(sorted(name for name, _ in keys.values()))
    raise SignatureError(
        f"signed by {len(found)} keys, none of them trusted here ({names}); the signer's public "
        "key belongs into the folder of trusted keys"
    )


def _message(manifest: bytes) -> bytes:
    return _PURPOSE + hashlib.sha256(manifest).hexdigest().encode()


def _identity(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def _read(folder: Path) -> dict[str, str]:
    """Signatures by key id; none if the bundle has none."""
    path = folder / SIGNATURES
    try:
        with path.open("rb") as stream:
            tree = json.loads(stream.read(_MOST_BYTES))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({error}); have the bundle signed again") from None
    if not isinstance(tree, dict) or not all(isinstance(v, str) for v in tree.values()):
        raise ConfigError(f"{path}: expected signatures by key; have the bundle signed again")
    return tree


def _trusted(folder: Path) -> dict[str, tuple[str, Ed25519PublicKey]]:
    keys: dict[str, tuple[str, Ed25519PublicKey]] = {}
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SignatureError(
            f"{folder}: {error.strerror}; expected the folder of trusted public keys"
        ) from None
    for file in files:
        try:
            key = load_pem_public_key(file.read_bytes())
        except (ValueError, OSError, UnsupportedAlgorithm) as error:
            raise SignatureError(f"{file}: no public key ({error}); remove it") from None
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureError(f"{file}: not an Ed25519 key; remove it")
        keys[_identity(key)] = (file.name, key)
    if not keys:
        raise SignatureError(f"{folder}: holds no public key, so no bundle can be trusted")
    return keys


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        mode = path.stat().st_mode & 0o077
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: no private key ({error}); make one with edge-compile key"
        ) from None
    if mode:
        raise ConfigError(f"{path}: others may read it; chmod 600 it, or make a new key")
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key; make one with edge-compile key")
    return key
