"""Compile the simulated camera: C sources beside this file, made into one `kenpinsim.cti`."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from kenpin.camera.source import CameraError

__all__ = ["SOURCES", "build"]

# The producer's source, in C.
SOURCES = Path(__file__).with_name("csrc")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Werror")
# -z nodelete: the binding unloads a producer when it is closed; the cameras shall outlive that.
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden")
LINK = ("-pthread", "-lm", "-Wl,-z,nodelete", "-Wl,-z,defs")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def build(directory: Path | str, *, sanitize: bool = False, compiler: str = "gcc") -> Path:
    """The path of `kenpinsim.cti` in `directory`, compiled if the sources changed since.

    Parameters
    ----------
    sanitize : bool
        With AddressSanitizer and UndefinedBehaviorSanitizer; the process that loads it must
        have libasan preloaded.

    Raises
    ------
    CameraError
        If there is no compiler, or it refuses the sources.
    """
    directory = Path(directory)
    if shutil.which(compiler) is None:
        raise CameraError(
            f"{compiler} was not found; the simulated camera is compiled where it is used: "
            "install a C compiler (Debian: apt-get install gcc libc6-dev)"
        )
    flags = [*FLAGS, *WARNINGS, *(SANITIZERS if sanitize else ())]
    # -z defs would refuse the sanitizers' own symbols, which the preloaded library brings.
    link = [flag for flag in LINK if not (sanitize and flag == "-Wl,-z,defs")]
    digest = hashlib.sha256(" ".join([compiler, *flags, *link]).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.read_bytes())
    target, stamp = directory / "kenpinsim.cti", directory / "kenpinsim.sha256"
    if target.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return target
    directory.mkdir(parents=True, exist_ok=True)
    # Compiled beside and moved into place: another process may have the old file loaded.
    fresh = directory / "kenpinsim.cti.new"
    sources = [str(source) for source in sorted(SOURCES.glob("*.c"))]
    done = subprocess.run(
        [compiler, *flags, *sources, *link, "-o", str(fresh)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CameraError(f"{compiler} refused the simulated camera:\n{done.stderr.strip()}")
    fresh.replace(target)
    stamp.write_text(digest.hexdigest())
    return target
