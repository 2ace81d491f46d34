"""The dashboard for many lines, asked of Debian's Prometheus that has scraped one of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge_process import free_port
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
        port = free_port()
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
        told = self._told(f"query?{query}")
        assert told["status"] == "success", (expression, told)
        found: list[dict[str, Any]] = told["data"]["result"]
        return found

    def _told(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)

    def until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE_S
        met: object = "Prometheus never answered"
        while time.monotonic() < end:
            try:
                if self.ask(expression):
                    return
                met = self.ask("up"), self._scrapes()
            except OSError as error:
                assert self.process.poll() is None, "Prometheus ended; see its log"
                met = error
            time.sleep(0.2)
        raise AssertionError(f"{expression} gave nothing within {PATIENCE_S} s: {met}")

    def _scrapes(self) -> list[tuple[str, str]]:
        """Where its last scrapes went, and what they met there."""
        targets = self._told("targets")["data"]["activeTargets"]
        return [(target["scrapeUrl"], target["lastError"]) for target in targets]


@pytest.fixture
def prometheus(patchcore: Bundle, tmp_path: Path) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus: apt install prometheus")
    archive = tmp_path / "archive"
    archive.mkdir()
    # One port, as on a line in a plant: a page that is started again is found again.
    port = free_port()
    settings = {
        **UNHURRIED,
        "status": f"port = {port}",
        "archive": f'folder = "{archive}", ok_every = 1',
    }
    line = RunningLine(line_toml(tmp_path, patchcore.folder, **settings))
    server = None
    try:
        server = Prometheus(program, tmp_path, f"127.0.0.1:{port}")
        yield server
    finally:
        if server is not None:
            server.process.kill()
            server.process.wait()
        line.close()
        # Shown where the test fails.
        print("".join(line.log[-20:]))


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
