"""The dashboard for many lines, asked of Debian's Prometheus that has scraped one of them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kenpin.runtime.bundles.bundle import Bundle
from running_line import PATIENCE_S, UNHURRIED, RunningLine, line_toml

pytestmark = pytest.mark.real

DASHBOARD = Path(__file__).resolve().parents[1] / "docs" / "fleet-dashboard.json"
# Of a line that runs well, and of a server that has not seen it for long.
MAY_BE_EMPTY = ("dropped", "reason", "NG, share")


class Prometheus:
    """A server that scrapes one address every second."""

    def __init__(self, program: str, folder: Path, target: str) -> None:
        settings = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "lines", "static_configs": [{"targets": [target]}]}],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}",
                 f"--web.listen-address=127.0.0.1:{port}"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression gives; an error of its own is a failure."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success", (expression, told)
        found: list[dict[str, Any]] = told["data"]["result"]
        return found

    def until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if self.ask(expression):
                    return
            except OSError:
                assert self.process.poll() is None, "Prometheus ended; see its log"
            time.sleep(0.2)
        raise AssertionError(f"{expression} gave nothing within {PATIENCE_S} s")


@pytest.fixture
def prometheus(patchcore: Bundle, tmp_path: Path) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus: apt install prometheus")
    archive = tmp_path / "archive"
    archive.mkdir()
    settings = {**UNHURRIED, "status": "port = 0", "archive": f'folder = "{archive}", ok_every = 1'}
    line = RunningLine(line_toml(tmp_path, patchcore.folder, **settings))
    server = None
    try:
        found = line.listen_until(
            lambda: re.findall(r'"address": "http://([^"/]+)', "".join(line.log)), "a status page"
        )
        server = Prometheus(program, tmp_path, found[-1])
        yield server
    finally:
        if server is not None:
            server.process.kill()
            server.process.wait()
        line.close()


def test_every_expression_of_the_dashboard_is_answered(prometheus: Prometheus) -> None:
    prometheus.until('rate(edge_stage_seconds_count{stage="total"}[5m]) > 0')
    prometheus.until("edge_archive_bytes")
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len(panels) > 10
    for panel in panels:
        (target,) = panel["targets"]
        found = prometheus.ask(target["expr"].replace("$line", ".*"))
        if not any(word in panel["title"] for word in MAY_BE_EMPTY):
            assert found, panel["title"]
