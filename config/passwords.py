"""What a password must be, wherever one is set: for the page, and for an OPC UA server."""

from __future__ import annotations

from kenpin.config.errors import ConfigError

__all__ = ["check_password"]

_SHORTEST = 10


def check_password(password: str) -> None:
    """Refuse a password that is guessed too soon.

    Raises
    ------
    ConfigError
        If it has fewer than ten characters.
    """
    if len(password) < _SHORTEST:
        raise ConfigError(
            f"the password has {len(password)} characters, expected {_SHORTEST} or more"
        )
