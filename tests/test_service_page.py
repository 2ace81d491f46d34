"""The live page beside a running line: whatever becomes of it, no verdict is lost or late."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kenpin.runtime.bundles.bundle import Bundle
from running_line import UNHURRIED, RunningLine, check_undisturbed, line_toml

pytestmark = pytest.mark.clock


@pytest.fixture
def line(patchcore: Bundle, tmp_path: Path) -> Iterator[RunningLine]:
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        page="port = 0",
        **UNHURRIED,
    )
    with RunningLine(toml) as running:
        yield running


def state(line: RunningLine) -> dict[str, Any] | None:
    """What the page tells; None while it is away."""
    url = line.page()
    try:
        with urllib.request.urlopen(url, timeout=10) as front:
            cookie = front.headers["Set-Cookie"].partition(";")[0]
        request = urllib.request.Request(f"{url}/api/state", headers={"Cookie": cookie})
        with urllib.request.urlopen(request, timeout=10) as answer:
            tree: dict[str, Any] = json.loads(answer.read())
            return tree
    except (OSError, urllib.error.URLError):
        return None


@pytest.mark.thorough
def test_a_page_that_dies_again_and_again_costs_no_verdict(line: RunningLine) -> None:
    line.verdict()
    line.listen_until(lambda: (told := state(line)) and told["strip"], "verdicts on the page")
    for _ in range(2):
        first = line.child("kenpin-page")
        os.kill(first, signal.SIGKILL)
        line.replaced("kenpin-page", first)
    told = line.listen_until(lambda: (t := state(line)) and t["strip"] and t, "verdicts again")
    # Counts are the gateway's, and so are those from before it died.
    assert told["total"]["ok"] + told["total"]["ng"] > len(told["strip"])
    assert line.stop() == 0
    check_undisturbed(line)


def test_a_page_that_stands_still_costs_no_verdict(line: RunningLine) -> None:
    line.verdict()
    line.listen_until(lambda: state(line), "the page")
    # Longer than it may keep a frame.
    os.kill(line.child("kenpin-page"), signal.SIGSTOP)
    line.listen(4.0)
    line.listen_until(lambda: state(line), "another page")
    assert line.stop() == 0
    check_undisturbed(line)


@pytest.mark.thorough
def test_a_flooded_page_costs_no_verdict(line: RunningLine) -> None:
    line.verdict()
    line.listen_until(lambda: state(line), "the page")
    host, port = line.page().removeprefix("http://").split(":")
    idle = []
    for _ in range(200):
        one = socket.create_connection((host, int(port)))
        one.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        idle.append(one)
    line.listen(2.0)
    for one in idle:
        one.close()
    line.listen_until(lambda: state(line), "the page after the flood")
    assert line.stop() == 0
    check_undisturbed(line)
