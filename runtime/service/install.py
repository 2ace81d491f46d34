"""edge-run install, uninstall: units, an example, and what systemd makes user and folders from.

Files alone, under a given root; what is to be run afterwards is printed. What was installed is
remembered by its SHA-256, as packages do it: a file that somebody has edited is never overwritten
and never removed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.runtime.bundles.durable import replace_file

__all__ = ["InstallStep", "Installation", "main", "make_parser", "wanted"]

EXAMPLES = """examples:
  edge-run install                                   below /usr/local and /etc
  edge-run install --root image/ --prefix /usr --command /usr/bin/edge-run
  edge-run uninstall                                 says what remains

Running it again changes nothing. A file that was edited is kept; the new one
is put beside it as NAME.new.

"""
# ProtectHome hides these from the service.
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")
_NEXT = """next, as root:
  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
  udevadm control --reload && udevadm trigger --subsystem-match=usb
  edge-run bundles install /etc/kenpin/demo.toml BUNDLE
  systemctl enable kenpin.target && systemctl enable --now kenpin@demo
"""


@dataclass(frozen=True, slots=True)
class InstallStep:
    """What was done to one file; `path` is where the box will see it."""

    path: PurePosixPath
    done: str


def wanted(prefix: PurePosixPath, command: PurePosixPath) -> dict[PurePosixPath, bytes]:
    """Every file that a box needs, by its path on the box.

    Parameters
    ----------
    prefix
        Where vendor's files go: /usr in a package, /usr/local for everybody else.
    command
        The `edge-run` that the units start.
    """
    ours = resources.files("kenpin.systemd")
    lib = prefix / "lib"
    units = ("kenpin@.service", "kenpin.target", "kenpin.slice")
    files = {lib / "systemd/system" / name: ours / name for name in units}
    files[lib / "sysusers.d/kenpin.conf"] = ours / "sysusers-kenpin.conf"
    files[lib / "tmpfiles.d/kenpin.conf"] = ours / "tmpfiles-kenpin.conf"
    files[lib / "udev/rules.d/60-kenpin.rules"] = ours / "60-kenpin.rules"
    files[PurePosixPath("/etc/kenpin/demo.toml")] = ours / "demo.toml"
    read = {path: file.read_bytes() for path, file in files.items()}
    return {path: data.replace(b"@COMMAND@", str(command).encode()) for path, data in read.items()}


class Installation:
    """The files of an installation below a root, and a record of what was written.

    root    / on the box itself; elsewhere for an image or a package
    prefix  where the record lies, with the vendor's files
    """

    def __init__(self, root: Path, prefix: PurePosixPath) -> None:
        self._root = root
        self._record = prefix / "lib/kenpin/installed.json"

    def at(self, path: PurePosixPath) -> Path:
        """Where a file of the box lies now."""
        return self._root / path.relative_to("/")

    def _recorded(self) -> dict[PurePosixPath, str]:
        try:
            tree = json.loads(self.at(self._record).read_text())
            return {PurePosixPath(path): str(digest) for path, digest in tree.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError) as error:
            raise ConfigError(
                f"{self.at(self._record)}: damaged ({error}); remove it, and what was edited since "
                "will be kept beside the new files"
            ) from None

    def install(self, files: dict[PurePosixPath, bytes]) -> list[InstallStep]:
        """Put files in place; what somebody edited stays, with the new one beside it.

        Raises
        ------
        ConfigError
            If the record of an earlier installation is damaged.
        """
        recorded = self._recorded()
        steps = [
            InstallStep(path, self._place(path, data, recorded.get(path)))
            for path, data in files.items()
        ]
        # A unit that this version no longer has must not stay behind.
        for path in [path for path in recorded if path not in files]:
            steps.append(InstallStep(path, self._remove(path, recorded[path])))
        hashes = {str(path): _sha256(data) for path, data in files.items()}
        self._write(self._record, (json.dumps(hashes, indent=1) + "\n").encode())
        return steps

    def _place(self, path: PurePosixPath, data: bytes, recorded: str | None) -> str:
        target = self.at(path)
        fresh = path.with_name(path.name + ".new")
        there = target.read_bytes() if target.exists() else None
        if there is not None and there != data and _sha256(there) != recorded:
            self._write(fresh, data)
            return f"kept, for it was edited; the new one is {fresh}"
        self.at(fresh).unlink(missing_ok=True)
        if there == data:
            return "unchanged"
        self._write(path, data)
        return "installed" if there is None else "updated"

    def _write(self, path: PurePosixPath, data: bytes) -> None:
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != data:
            replace_file(target, data)

    def uninstall(self) -> list[InstallStep]:
        """Remove what was installed and has not been edited since.

        Raises
        ------
        ConfigError
            If nothing is known to be installed, or the record is damaged.
        """
        recorded = self._recorded()
        if not recorded:
            raise ConfigError(f"{self.at(self._record)}: no such record; nothing was installed")
        steps = [InstallStep(path, self._remove(path, digest)) for path, digest in recorded.items()]
        self.at(self._record).unlink()
        folder = self.at(self._record).parent
        if not any(folder.iterdir()):
            folder.rmdir()
        return steps

    def _remove(self, path: PurePosixPath, recorded: str) -> str:
        target = self.at(path)
        self.at(path.with_name(path.name + ".new")).unlink(missing_ok=True)
        if not target.exists():
            return "was gone"
        if _sha256(target.read_bytes()) != recorded:
            return "kept, for it was edited"
        target.unlink()
        return "removed"

    def remains(self) -> list[str]:
        """What an uninstallation leaves: settings, bundles, archives, keys, the user."""
        folders = [PurePosixPath(p) for p in ("/etc/kenpin", "/var/lib/kenpin", "/run/kenpin")]
        found = []
        for folder in folders:
            items = sorted(item.name for item in self._items(folder))
            if self.at(folder).exists():
                found.append(f"{folder}: {', '.join(items) or 'empty'}")
        passwd = self._root / "etc/passwd"
        if passwd.exists() and "\nkenpin:" in "\n" + passwd.read_text():
            found.append("the user and the group kenpin, who own the above: userdel kenpin")
        return found

    def _items(self, folder: PurePosixPath) -> list[Path]:
        return list(self.at(folder).iterdir()) if self.at(folder).is_dir() else []


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main(command: str, argv: Sequence[str]) -> int:
    """The command `install` or `uninstall`; returns its exit code."""
    options = make_parser(command).parse_args(argv)
    action = _install if command == "install" else _uninstall
    expected = {ConfigError: Exit.CONFIG, PermissionError: Exit.CONFIG}
    return run(lambda: action(options), expected, debug=options.debug)


def make_parser(command: str) -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog=f"edge-run {command}",
        description="Put units, an example, and what systemd makes user and folders from in place, "
        "or remove them.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="of the box, or of an image of it; default: /",
    )
    parser.add_argument(
        "--prefix",
        type=_absolute,
        default=PurePosixPath("/usr/local"),
        help="where units and rules go; default: /usr/local",
    )
    if command == "install":
        parser.add_argument(
            "--command",
            type=_absolute,
            default=PurePosixPath(sys.executable).with_name("edge-run"),
            metavar="PATH",
            help="the edge-run that units start; default: the one beside this Python",
        )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _absolute(text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if not path.is_absolute() or any(c in text for c in " \t\n%\"'\\$"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a plain path that begins with /")
    return path


def _install(options: argparse.Namespace) -> int:
    command = options.command
    if str(command).startswith(_HIDDEN):
        raise ConfigError(
            f"{command}: the service may not look into {command.parts[1]}; install kenpin "
            "elsewhere, such as /opt/kenpin, or name another edge-run by --command"
        )
    if options.root == Path("/") and not Path(command).is_file():
        raise ConfigError(f"{command}: no such file; name the installed edge-run by --command")
    installation = Installation(options.root, options.prefix)
    _tell(installation.install(wanted(options.prefix, command)))
    sys.stdout.write(_NEXT)
    return Exit.DONE


def _uninstall(options: argparse.Namespace) -> int:
    installation = Installation(options.root, options.prefix)
    _tell(installation.uninstall())
    for text in installation.remains():
        sys.stdout.write(f"remains: {text}\n")
    return Exit.DONE


def _tell(steps: Sequence[InstallStep]) -> None:
    for step in steps:
        sys.stdout.write(f"{step.path}: {step.done}\n")
