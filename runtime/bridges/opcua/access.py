"""Who may use an OPC UA server: certificates, and users with passwords. Knows no OPC UA library."""

from __future__ import annotations

import contextvars
import datetime
import hashlib
import hmac
import ipaddress
import re
import secrets
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kenpin.config.errors import ConfigError
from kenpin.config.passwords import check_password
from kenpin.runtime.bundles.durable import make_folder, replace_file

__all__ = [
    "CALLER", "application_uri", "certificates_in", "knows", "make_certificate", "read_certificate",
    "set_user",
]  # fmt: skip

# Whose call is being served; asyncua does not tell a method.
CALLER: contextvars.ContextVar[Any] = contextvars.ContextVar("caller")

_DAYS = 3650
_BITS = 2048
# scrypt, RFC 7914: about 10 ms and 8 MiB for each password that is tried.
_COST, _BLOCK, _LANES = 2**13, 8, 1
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def make_certificate(
    folder: Path, name: str, addresses: list[str], *, today: datetime.datetime
) -> tuple[Path, Path]:
    """An application's certificate and its key, signed by itself; never over old ones.

    Parameters
    ----------
    addresses
        Under which it is reached, in numbers or names.

    Raises
    ------
    ConfigError
        If the name is none, or the files are there.
    """
    _check_name(name)
    certificate, secret = folder / f"{name}.pem", folder / f"{name}.key"
    for path in (certificate, secret):
        if path.exists():
            raise ConfigError(f"{path} is there already; take it away first, or another name")
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"urn:kenpin:{name}")]
    names += [_general(address) for address in addresses]
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True,
        data_encipherment=True, key_agreement=False, key_cert_sign=True, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    make_folder(folder)
    replace_file(secret, private, mode=0o600, alike=True)
    replace_file(certificate, made.public_bytes(serialization.Encoding.PEM), alike=True)
    return certificate, secret


def _general(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def read_certificate(path: Path) -> x509.Certificate:
    """A certificate in PEM or DER.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"-----"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: {error}; expected a certificate, as edge-run keys certificate makes it"
        ) from None


def application_uri(certificate: x509.Certificate) -> str:
    """The name of the application that a certificate is for.

    Raises
    ------
    ConfigError
        If it names none.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        names = None
    found = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if not found:
        raise ConfigError("the certificate names no application URI; edge-run keys certificate")
    return found[0]


def certificates_in(folder: Path, now: datetime.datetime) -> set[bytes]:
    """DER of every certificate in a folder that is valid now."""
    found = set()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".pem", ".der", ".crt"):
            certificate = read_certificate(path)
            if certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                found.add(certificate.public_bytes(serialization.Encoding.DER))
    return found


def set_user(path: Path, name: str, password: str) -> bool:
    """Give a user a password, a new one if he is there; whether he was.

    Raises
    ------
    ConfigError
        If the name is none, or the password too short.
    """
    _check_name(name)
    check_password(password)
    salt = secrets.token_bytes(16)
    users = _read_users(path) if path.exists() else {}
    known = name in users
    users[name] = salt.hex(), _hashed(password, salt).hex()
    lines = [f"{user}:{pair[0]}:{pair[1]}\n" for user, pair in sorted(users.items())]
    replace_file(path, "".join(lines).encode("ascii"), mode=0o640, alike=True)
    return known


def knows(path: Path, name: str, password: str) -> bool:
    """Whether that is the user's password.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    salt, wanted = _read_users(path).get(name, ("", ""))
    # One who is not known takes as long as one who is.
    found = _hashed(password, bytes.fromhex(salt) or bytes(16)).hex()
    return hmac.compare_digest(found, wanted)


def _read_users(path: Path) -> dict[str, tuple[str, str]]:
    found = {}
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            name, salt, hashed = line.split(":")
            found[name] = salt, hashed
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: {error}; expected the file that edge-run keys user writes"
        ) from None
    return found


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES, dklen=32)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name {name!r}; expected 1 to 64 of A-Z a-z 0-9 . _ -")
