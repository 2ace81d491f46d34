"""The live page beside a running line: whatever becomes of it, no verdict is lost or late."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kenpin.runtime.bundles.bundle import Bundle
from running_line import PATIENCE_S, RunningLine, check_undisturbed, line_toml

pytestmark = pytest.mark.clock

CAMERA = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25'


@pytest.fixture
def line(patchcore: Bundle, tmp_path: Path) -> Iterator[RunningLine]:
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        camera=CAMERA,
        trigger='mode = "free", budget_ms = 600, max_in_flight = 8',
        ring="slots = 14",
        page="port = 0",
    )
    with RunningLine(toml) as running:
        yield running


def until(wanted: Callable[[], Any], what: str, line: RunningLine) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = wanted()
        if found:
            return found
        line.listen(0.1)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


def address(line: RunningLine) -> str:
    """Where the newest page is."""

    def told() -> str:
        found = re.findall(r'"address": "(http[^"]+)", "event": "page"', "".join(line.log))
        return str(found[-1]) if found else ""

    return str(until(told, "the page's address", line))


def state(line: RunningLine) -> dict[str, Any] | None:
    """What the page tells; None while it is away."""
    url = address(line)
    try:
        with urllib.request.urlopen(url, timeout=10) as front:
            cookie = front.headers["Set-Cookie"].partition(";")[0]
        request = urllib.request.Request(f"{url}/api/state", headers={"Cookie": cookie})
        with urllib.request.urlopen(request, timeout=10) as answer:
            tree: dict[str, Any] = json.loads(answer.read())
            return tree
    except (OSError, urllib.error.URLError):
        return None


def test_a_page_that_dies_again_and_again_costs_no_verdict(line: RunningLine) -> None:
    line.verdict()
    until(lambda: (told := state(line)) and told["strip"], "verdicts on the page", line)
    for _ in range(2):
        first = line.child("kenpin-page")
        os.kill(first, signal.SIGKILL)
        until(lambda first=first: line.child("kenpin-page") != first, "a new page", line)
    told = until(lambda: (t := state(line)) and t["strip"] and t, "verdicts again", line)
    # Counts are the gateway's, and so are those from before it died.
    assert told["total"]["ok"] + told["total"]["ng"] > len(told["strip"])
    assert line.stop() == 0
    check_undisturbed(line)


def test_a_page_that_stands_still_costs_no_verdict(line: RunningLine) -> None:
    line.verdict()
    until(lambda: state(line), "the page", line)
    # Longer than it may keep a frame.
    os.kill(line.child("kenpin-page"), signal.SIGSTOP)
    line.listen(4.0)
    until(lambda: state(line), "another page", line)
    assert line.stop() == 0
    check_undisturbed(line)


def test_a_flooded_page_costs_no_verdict(line: RunningLine) -> None:
    line.verdict()
    until(lambda: state(line), "the page", line)
    host, port = address(line).removeprefix("http://").split(":")
    idle = []
    for _ in range(200):
        one = socket.create_connection((host, int(port)))
        one.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        idle.append(one)
    line.listen(2.0)
    for one in idle:
        one.close()
    until(lambda: state(line), "the page after the flood", line)
    assert line.stop() == 0
    check_undisturbed(line)
