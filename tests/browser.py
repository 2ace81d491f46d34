"""A real headless Chromium, driven over a pipe: no driver, no extra package.

The browser is found by name or by KENPIN_CHROMIUM; tests that need it skip
where there is none and say so.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome-headless-shell",
)
LONGEST_S = 60
# A page that fits is not scrolled sideways; what stands out of one that does not.
FITS = "document.body.scrollWidth <= document.documentElement.clientWidth"
STANDS_OUT = """[...document.querySelectorAll("body, body *")]
  .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)
  .map(e => `${e.tagName} ${e.className} ${e.scrollWidth}: ${e.textContent.slice(0, 60)}`)"""
# axe-core, that finds what somebody without eyes or hands cannot use.
AXE = [
    Path(os.environ.get("KENPIN_AXE", "/nowhere")),
    Path("/usr/local/lib/node_modules/axe-core/axe.min.js"),
    Path("/usr/lib/node_modules/axe-core/axe.min.js"),
]
NO_AXE = "axe-core is not installed: npm install -g axe-core, or KENPIN_AXE=axe.min.js"
SCHEMES = ("light", "dark")
# The browser reads descriptor 3 and writes 4, whatever numbers ours have.
LAUNCH = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """The browser's path, None if this machine has none."""
    named = os.environ.get("KENPIN_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def axe() -> Path | None:
    """The script of axe-core, None if this machine has none."""
    return next((file for file in AXE if file.exists()), None)


class Browser:
    """One page. Commands are those of the Chrome DevTools Protocol, framed by zero bytes."""

    def __init__(self, path: str, width: int = 1280, height: int = 1000) -> None:
        self._profile = tempfile.mkdtemp(prefix="kenpin-browser-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", f"--user-data-dir={self._profile}", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        try:
            self._attach(width, height)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _attach(self, width: int, height: int) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        # Its helpers may still be writing into the profile.
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                return dict(found["result"])
            self.events.append(found)

    def open(self, file: Path) -> None:
        """Load a page and wait until it is complete."""
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.until("document.readyState == 'complete'")

    def visit(self, url: str) -> None:
        """Load a served page anew, even where only what stands after # differs."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState == 'complete' && location.href == {json.dumps(url)}")

    def until(self, condition: str, tells: str = "") -> None:
        """Wait until a piece of script gives something true; `tells` says what is there instead."""
        deadline = time.monotonic() + LONGEST_S
        while not self.value(condition):
            if time.monotonic() > deadline:
                seen = f": {self.value(tells)}" if tells else ""
                raise TimeoutError(f"never came true: {condition}{seen}")
            time.sleep(0.02)

    def until_it_fits(self) -> None:
        """Wait until the page is not scrolled sideways."""
        self.until(FITS, STANDS_OUT)

    def promised(self, expression: str) -> Any:
        """What a promise comes to."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return found["result"].get("value")

    def value(self, expression: str) -> Any:
        """What a piece of script gives."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def prefer(self, scheme: str) -> None:
        """Show pages light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def serious_faults(self) -> dict[str, str]:
        """What axe calls serious or critical on this page: a place for each rule."""
        script = axe()
        assert script is not None, NO_AXE
        self.value(script.read_text() + ";0")
        told = self.promised("axe.run().then(r => JSON.stringify(r.violations))")
        return {
            one["id"]: one["nodes"][0]["html"]
            for one in json.loads(told)
            if one["impact"] in ("serious", "critical")
        }

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """One mouse event: mouseMoved, mousePressed, mouseReleased or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Press and release."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """A PNG of the page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings that the page's console or the browser wrote."""
        out = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                out.append(event["params"]["exceptionDetails"]["text"])
            if event.get("method") == "Log.entryAdded":
                out.append(event["params"]["entry"]["text"])
        return out

    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], LONGEST_S)[0]:
                raise TimeoutError(f"the browser said nothing for {LONGEST_S} s")
            read = os.read(self._in, 1 << 16)
            if not read:
                raise RuntimeError(f"the browser ended with {self._process.poll()}")
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))
