"""The status page beside a running line: what it says, and what its misfortunes cost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kenpin.runtime.bundles.bundle import Bundle
from running_line import UNHURRIED, RunningLine, check_undisturbed, line_toml

pytestmark = pytest.mark.clock

COUNTED = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25, count = 60'

Start = Callable[..., RunningLine]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def start(patchcore: Bundle, tmp_path: Path) -> Iterator[Start]:
    running: list[RunningLine] = []

    def begin(port: int = 0, **tables: str) -> RunningLine:
        settings = {**UNHURRIED, "status": f"port = {port}", **tables}
        toml = line_toml(tmp_path, patchcore.folder, **settings)
        running.append(RunningLine(toml))
        return running[-1]

    yield begin
    for line in running:
        line.close()


def page(line: RunningLine) -> str:
    """Where the newest status page is."""
    return line.listen_until(lambda: addresses(line), "a status page")[-1]


def addresses(line: RunningLine) -> list[str]:
    """Where status pages have been, the newest last."""
    return re.findall(r'"address": "(http[^"]+)"', "".join(line.log))


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(url: str) -> Samples:
    """Every sample by name and labels, as Prometheus' own parser reads them."""
    status, text = get(f"{url}/metrics")
    assert status == 200
    return {
        (s.name, tuple(sorted((k, v) for k, v in s.labels.items() if k != "line"))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_the_page_counts_what_the_line_said(start: Start) -> None:
    line = start(camera=COUNTED)
    while len(line.verdicts) < 60:
        line.verdict()
    url = page(line)

    def whole() -> Samples | None:
        found = scrape(url)
        return found if sum(counts(found).values()) == 60 else None

    samples = line.listen_until(whole, "60 verdicts on the page")
    told = Counter(("OK" if m["verdict"] == 1 else "NG", m["reason"] or "") for m in line.verdicts)
    assert counts(samples) == told
    assert samples["edge_stage_seconds_count", (("stage", "total"),)] == 60
    spent = sum(m["lat_us"]["total"] for m in line.verdicts) / 1e6
    assert samples["edge_stage_seconds_sum", (("stage", "total"),)] == pytest.approx(spent)
    within = samples["edge_stage_seconds_bucket", (("le", "1.5"), ("stage", "total"))]
    assert within == sum(m["lat_us"]["total"] <= 1_500_000 for m in line.verdicts)
    assert samples["edge_deadline_missed_total", ()] == 0
    scores = sorted(m["score"] for m in line.verdicts if m["score"] is not None)
    assert samples["edge_score_quantile", (("quantile", "1"),)] == scores[-1]
    assert samples["edge_score_quantile", (("quantile", "0.5"),)] == scores[len(scores) // 2]
    label = line.verdicts[-1]["bundle"]
    assert samples["edge_bundle_info", (("bundle", label), ("recipe", "small"))] == 1
    for process, pid in {"gateway": line.process.pid, "inspection": line.child()}.items():
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        said = samples["edge_rss_bytes", (("process", process),)]
        assert said == pytest.approx(resident, rel=0.1)
    assert line.stop() == 0


def counts(samples: Samples) -> dict[tuple[str, str], int]:
    """Verdicts on the page by outcome and reason."""
    return {
        (dict(labels)["verdict"], dict(labels)["reason"]): int(value)
        for (name, labels), value in samples.items()
        if name == "edge_frames_total" and value
    }


@pytest.mark.thorough
def test_health_is_the_gateways_and_readiness_the_lines(start: Start) -> None:
    line = start(watchdog="hung_ms = 200, kill_ms = 1000")
    url = page(line)
    line.state("operational.continuous")
    line.listen_until(lambda: get(f"{url}/readyz")[0] == 200, "readiness")
    assert get(f"{url}/healthz")[0] == 200
    # The inspection hangs: the line is in error for a moment, the gateway is well.
    os.kill(line.child(), signal.SIGSTOP)
    line.listen_until(lambda: get(f"{url}/readyz")[0] == 503, "a line that is not ready")
    assert get(f"{url}/healthz")[0] == 200
    line.listen_until(lambda: get(f"{url}/readyz")[0] == 200, "readiness again")
    os.kill(line.process.pid, signal.SIGSTOP)
    try:
        said = line.listen_until(
            lambda: (a := get(f"{url}/healthz"))[0] == 503 and a[1], "a silent gateway"
        )
    finally:
        os.kill(line.process.pid, signal.SIGCONT)
    assert json.loads(said)["gateway_heard_s"] >= 3
    line.listen_until(lambda: get(f"{url}/healthz")[0] == 200, "health again")
    assert get(f"{url}/nothing")[0] == 404
    assert line.stop() == 0


@pytest.mark.thorough
def test_a_page_that_hangs_or_dies_is_noticed_by_nobody_on_the_line(start: Start) -> None:
    line = start()
    page(line)
    line.verdict()
    status = line.child("kenpin-status")
    os.kill(status, signal.SIGSTOP)
    line.listen(2.5)
    counted = len(line.verdicts)
    os.kill(status, signal.SIGKILL)
    line.listen_until(lambda: len(addresses(line)) > 1, "a new page")
    # All counts are there at once, those of before its death too.
    samples = line.listen_until(lambda: answering(line), "the page")
    assert sum(counts(samples).values()) >= counted
    assert line.stop() == 0
    check_undisturbed(line)


def answering(line: RunningLine) -> Samples | None:
    """The newest page's samples; None while it does not answer."""
    try:
        return scrape(page(line))
    except OSError:
        return None


@pytest.mark.thorough
def test_a_port_that_is_taken_is_complained_of_until_it_is_free(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = start(port=port)
        said = line.until(lambda m: m["type"] == "alarm" and m["source"] == "status")
        assert str(port) in said["detail"]
        line.verdict()
    line.until(lambda m: m["type"] == "alarm" and m["source"] == "status" and not m["active"])
    assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200
    assert line.stop() == 0
    check_undisturbed(line)


@pytest.mark.thorough
def test_idle_connections_do_not_keep_others_out(start: Start) -> None:
    line = start()
    line.verdict()
    host, port = page(line).removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(40)]
    try:
        # A connection that asks nothing is dropped after some seconds.
        line.listen_until(lambda: answered(f"http://{host}:{port}/healthz"), "an answer")
    finally:
        for connection in idle:
            connection.close()
    assert line.stop() == 0
    check_undisturbed(line)


def answered(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        return False
