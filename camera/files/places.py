"""Folders here and elsewhere: a path, or a URL such as s3://bucket/folder that fsspec knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kenpin.config.errors import ConfigError, OutputError

__all__ = ["Place", "open_place"]


@dataclass(frozen=True)
class Place:
    """A folder, wherever it lies. Credentials and endpoints are fsspec's business: AWS's own
    variables for S3.

    url   as it was given
    """

    url: str
    _files: Any
    _root: str

    def read(self, name: str) -> bytes:
        """All of a file, by its name below the folder.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ConfigError
            If it cannot be had.
        """
        with self._explained():
            data: bytes = self._files.cat_file(f"{self._root}/{name}")
            return data

    def write(self, name: str, data: bytes) -> None:
        """Make a file, or give it another content; readers see the old one or the new one.

        Raises
        ------
        ConfigError
            If it cannot be written.
        """
        target = f"{self._root}/{name}"
        with self._explained():
            # A bucket has no folders, and shows an object when it is whole.
            if _local(self._files):
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                try:
                    self._files.pipe_file(f"{target}.part", data)
                    self._files.mv(f"{target}.part", target)
                except BaseException:
                    # What a full disk took of it is in the way of whoever makes room.
                    Path(f"{target}.part").unlink(missing_ok=True)
                    raise
            else:
                self._files.pipe_file(target, data)

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises
        ------
        FileNotFoundError, ConfigError
            As `read`.
        """
        with self._explained():
            return int(self._files.info(f"{self._root}/{name}")["size"])

    def names(self, below: str = "") -> list[str]:
        """Of all files in and below the folder, or one in it, in order; by their names in that.

        Raises
        ------
        ConfigError
            If it cannot be listed.
        """
        with self._explained():
            self._files.invalidate_cache()
            root = f"{self._root}/{below}".rstrip("/")
            found = self._files.find(root)
        return sorted(path[len(root) + 1 :] for path in found)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and _local(self._files):
                what = f"{error.filename or self.url}: {error.strerror}"
                raise OutputError(f"{what}; check the path, rights and disk") from error
            # Each kind of place has errors of its own, and only it knows them.
            raise ConfigError(
                f"{self.url}: {type(error).__name__}: {error}; check the address, the network and "
                "the rights: for S3, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error


def open_place(where: str) -> Place:
    """The folder at a path or a URL.

    Raises
    ------
    ConfigError
        If what it takes is not installed, or the URL is of no known kind.
    """
    if find_spec("fsspec") is None:
        raise ConfigError(
            f"{where}: needs fsspec, which is not installed; pip install kenpin[store]"
        )
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(where)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{where}: {error}; for S3 pip install kenpin[store], for others the package that "
            "fsspec names"
        ) from error
    return Place(where, files, str(root).rstrip("/"))


def _local(files: Any) -> bool:
    return "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,))
