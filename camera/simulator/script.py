"""Which commands outlast the process that obeyed them, and the file that later ones read."""

from pathlib import Path

__all__ = ["Script", "momentary"]

# These act once, or only answer: telling them again to the next process would act twice.
MOMENTARY = frozenset({"error", "get", "part", "set", "status", "trigger"})
COUNTED = frozenset({"busy_revoke", "drop", "incomplete", "start_fails"})
TIMED = frozenset({"freeze", "stall"})
OF_A_FEATURE = {"default": "default", "keep": "write", "obey": "write", "refuse": "write"}
OF_A_FEATURE["round"] = "write"
OPPOSITES = {"back": "lost", "freeze": "flow", "resume": "flow", "stall": "flow"}
# What `clear` ends: the groups of commands that are faults of the camera, not what it is.
FAULTS = frozenset(
    (
        *("busy_revoke", "delay", "drop", "flow", "height", "incomplete", "jitter", "open"),
        *("padding", "partial_incomplete", "payload", "pixel_format", "slow_registers"),
        *("slow_stop", "start_fails", "width", "write", "xml"),
    )
)


def _parts(command: str) -> tuple[str, str, list[str]]:
    """Camera, word and arguments of a command."""
    words = command.split()
    camera = words.pop(0) if words and words[0].startswith("@") else "@0"
    return camera, words[0] if words else "", words[1:]


def momentary(command: str) -> bool:
    """True if the command acts once and is not for processes yet to come."""
    _, word, arguments = _parts(command)
    if word in COUNTED:
        return "always" not in arguments and "never" not in arguments
    return word in MOMENTARY or (word in TIMED and bool(arguments))


class Script:
    """The lasting commands, the latest of each kind, written to `path` at every change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[tuple[str, str, str], str] = {}
        self._before = dict(self._lines)
        self._write()

    def remember(self, command: str) -> None:
        """Keep a lasting command, in place of what it ends; `forget` takes that back."""
        self._before = dict(self._lines)
        if momentary(command):
            return
        camera, word, arguments = _parts(command)
        if word == "clear":
            self._lines = {
                key: line
                for key, line in self._lines.items()
                if key[0] != camera or key[1] not in FAULTS
            }
        else:
            named = arguments[0] if word in OF_A_FEATURE and arguments else ""
            group = OF_A_FEATURE.get(word, OPPOSITES.get(word, word))
            self._lines.pop((camera, group, named), None)
            self._lines[camera, group, named] = " ".join([camera, word, *arguments])
        self._write()

    def forget(self) -> None:
        """As before the last command."""
        self._lines = dict(self._before)
        self._write()

    def _write(self) -> None:
        # Replaced whole: a producer may be loading it at this moment.
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in self._lines.values()))
        fresh.replace(self.path)
