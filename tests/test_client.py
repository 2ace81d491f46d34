"""The client of a line: every wait ends, what is cut mends, and nothing piles up."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

import kenpin
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.service.error_limit import MISTAKES
from kenpin.runtime.wire import client as client_module
from kenpin.runtime.wire import own_parts
from kenpin.runtime.wire.client import LineClient, LineSilentError, RefusedError, WireOptions
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES, Encoding
from kenpin.runtime.wire.verdict_messages import State
from lying_line import LyingLine
from running_line import PATIENCE_S, RunningLine, line_toml
from wire_samples import verdict_message

pytestmark = pytest.mark.clock

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
SOFTWARE = 'mode = "software", budget_ms = 2000'


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LineClient]:
    """Of a line in the test's folder."""
    with LineClient(f"ipc://{tmp_path}/ctl", f"ipc://{tmp_path}/pub") as client:
        yield client


def test_the_whole_dialogue_with_a_real_line(
    patchcore: Bundle, tmp_path: Path, client: LineClient
) -> None:
    toml = line_toml(tmp_path, patchcore.folder, trigger=SOFTWARE, camera=STILL)
    with RunningLine(toml) as line:
        line.state("operational.ready")
        assert client.hello(PATIENCE_S).state is State.READY
        verdict = client.judge("part-1", timeout_s=PATIENCE_S)
        assert (verdict.trig, verdict.seq, client.fresh) == ("part-1", 1, True)
        assert client.judge("part-1", timeout_s=PATIENCE_S) == verdict, "asked again"
        assert not client.fresh, "no frame was taken for it"
        assert client.judge("part-2", recipe="other").reason == "recipe_mismatch"
        with pytest.raises(RefusedError, match="choose a new id"):
            client.judge("part-2", recipe="small", timeout_s=PATIENCE_S)
        quick = client.judge("part-3", budget_ms=0.01, timeout_s=PATIENCE_S)
        assert quick.reason in ("late", "no_frame")
        assert client.selftest(PATIENCE_S) == ""
        with pytest.raises(RefusedError, match="install the bundle first"):
            client.prepare("gone@0123456789ab", PATIENCE_S)
        with pytest.raises(RefusedError, match="PREPARE one"):
            client.activate(PATIENCE_S)
        client.reset(PATIENCE_S)
        assert client.status(PATIENCE_S).last_seq == 3
        published = {heard.kind for heard in iter(client.receive, None) if heard.topic}
        assert published >= {"verdict", "state", "hb"}
        for _ in range(MISTAKES):
            client.say_raw(b"\xc1")
        with pytest.raises(RefusedError, match="too many mistakes") as refused:
            client.judge("part-4", timeout_s=PATIENCE_S)
        assert refused.value.reason == "paused"
        assert 0 < (refused.value.pause_ms or 0) <= 1000


@pytest.mark.thorough
def _of_the_module() -> str:
    """The example that the client's own docstring shows."""
    (code,) = re.findall(r"(?:^    .*\n)+", inspect.getdoc(client_module) + "\n", re.M)
    return textwrap.dedent(code)


def _of_the_page() -> str:
    page = (Path(__file__).parents[1] / "docs" / "edge-plc.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    return code


@pytest.mark.clock
@pytest.mark.parametrize("example", [_of_the_module, _of_the_page])
def test_the_examples_of_a_client_talk_with_a_line(
    example: Callable[[], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = example().replace("timeout_s=1)", f"timeout_s={PATIENCE_S})")
    names: dict[str, Any] = {"LineClient": kenpin.LineClient}
    with LyingLine(tmp_path) as line:
        for shown, real in (("tcp://127.0.0.1:5555", line.ctl), ("tcp://127.0.0.1:5556", line.pub)):
            assert shown in code
            code = code.replace(shown, real)
        exec(code, names)
    verdict = names["verdict"]
    assert (verdict.trig, verdict.verdict, verdict.sim) == ("part-4711", 1, True)
    if example is _of_the_page:
        assert names["passed"] is False, "a simulated line's OK lets nothing pass"
    else:
        assert capsys.readouterr().out == "operational.ready\n"


def test_a_line_that_dies_is_found_again_when_it_is_back(
    patchcore: Bundle, tmp_path: Path, client: LineClient
) -> None:
    toml = line_toml(tmp_path, patchcore.folder, trigger=SOFTWARE, camera=STILL)
    with RunningLine(toml) as line:
        line.state("operational.ready")
        boot = client.hello(PATIENCE_S).boot
        line.process.kill()
        line.process.wait()
        with pytest.raises(LineSilentError):
            client.judge("part-1", timeout_s=0.5)
    with RunningLine(toml) as line:
        # Greeted by itself; the trigger of before was not kept for it.
        heard = client.wait(
            lambda h: h.kind == "state" and not h.topic and h.fields["boot"] != boot,
            PATIENCE_S,
            "the new boot",
        )
        assert heard.state().last_seq == 0
        assert client.cuts > 0
        line.state("operational.ready")
        assert client.judge("part-1", timeout_s=PATIENCE_S).seq == 1


def test_waits_end_and_nothing_is_kept_for_a_line_that_is_away(
    tmp_path: Path, client: LineClient
) -> None:
    with pytest.raises(LineSilentError, match="is edge-run running there"):
        client.hello(0.1)
    assert client.receive(0.01) is None
    with LyingLine(tmp_path):
        assert client.judge("part-1", timeout_s=PATIENCE_S).verdict == 1
    listener = LineClient(None, f"ipc://{tmp_path}/pub")
    with listener, pytest.raises(ValueError, match="only listens"):
        listener.hello()


def test_a_verdict_of_another_session_is_no_answer(tmp_path: Path, client: LineClient) -> None:
    with LyingLine(tmp_path, "another session"):
        for part in "12345":
            assert client.judge(part, timeout_s=PATIENCE_S).session == client.session
        with pytest.raises(LineSilentError):
            client.judge("6", timeout_s=0.5)


def test_what_cannot_be_read_is_told_and_the_next_message_is_read(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/pub"
    good = {"v": 1, "type": "hb", "line": "a"}
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(endpoint)
        with LineClient(None, endpoint, line="a", options=WireOptions(Encoding.JSON)) as client:

            def publish(topic: str, payload: bytes) -> None:
                socket.send_multipart([topic.encode(), payload])

            assert socket.recv() == b"\x01v1/"
            for bad in (b"", b"\xff", b"[]", b'{"type": 1}', b'{"type": "verdict"}'):
                publish("v1/hb/a", bad)
                with pytest.raises(WireError):
                    client.receive(PATIENCE_S)
            publish("v1/hb/a", json.dumps(good | {"line": "b"}).encode())
            with pytest.raises(WireError, match="does not fit"):
                client.receive(PATIENCE_S)
            publish("v1/hb/aa", json.dumps(good | {"line": "aa"}).encode())
            publish("v1/hb/a", json.dumps(good).encode())
            heard = client.receive(PATIENCE_S)
            assert heard is not None
            assert heard.fields == good
            # libzmq hangs up on this, and would never call again by itself.
            publish("v1/hb/a", b" " * (MAX_MESSAGE_BYTES + 1))
            until = time.monotonic() + PATIENCE_S
            while client.cuts == 0:
                assert client.receive(0.05) is None
                assert time.monotonic() < until
            while client.receive(0.05) is None:
                publish("v1/hb/a", json.dumps(good).encode())
                assert time.monotonic() < until


def test_a_verdict_is_told_to_whoever_triggered_before_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two connections the second message may be the faster one."""
    ctl, pub = f"ipc://{tmp_path}/ctl", f"ipc://{tmp_path}/pub"
    ours = verdict_message(1).model_dump(mode="json") | {"trig": "7", "session": "5"}
    others = verdict_message(2).model_dump(mode="json") | {"trig": "7", "session": "6"}
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
        context.socket(zmq.XPUB) as socket,
    ):
        for one, endpoint in ((router, ctl), (socket, pub)):
            one.setsockopt(zmq.LINGER, 0)
            one.bind(endpoint)
        with LineClient(ctl, pub, session="5") as client:
            client.say("trigger", trig="7")
            name, _ = router.recv_multipart()
            assert socket.recv() == b"\x01v1/"
            # However long this machine stands still before the line has said it.
            monkeypatch.setattr(own_parts, "_HELD_NS", round(PATIENCE_S * 1e9))
            for fields in (ours, others):
                socket.send_multipart([b"v1/verdict/web-1", msgpack.packb(fields)])
            assert client.receive(0.02) is None, "it was not told to us yet"
            router.send_multipart([name, msgpack.packb(ours)])
            heard = [client.receive(PATIENCE_S) for _ in range(3)]
            assert [(h.fields["seq"], bool(h.topic)) for h in heard if h] == [
                (1, False), (1, True), (2, True),
            ]  # fmt: skip
            monkeypatch.undo()
            # Once more about another part, and nothing is told: published it is all the same.
            client.say("trigger", trig="8")
            lost = ours | {"trig": "8", "seq": 3}
            socket.send_multipart([b"v1/verdict/web-1", msgpack.packb(lost)])
            found = client.receive(PATIENCE_S)
            assert found is not None
            assert (found.fields["seq"], bool(found.topic)) == (3, True)


@dataclass
class _Keys:
    line: bytes
    public: bytes
    secret: bytes

    def on(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_serverkey = self.line
        socket.curve_publickey, socket.curve_secretkey = self.public, self.secret


def test_a_line_with_curve_answers_those_who_know_its_key() -> None:
    line_public, line_secret = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.curve_server = True
        socket.curve_secretkey = line_secret
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        endpoint = f"tcp://127.0.0.1:{port}"
        heard: list[dict[str, Any]] = []

        def serve() -> None:
            while socket.poll(2000):
                client, payload = socket.recv_multipart()
                heard.append(msgpack.unpackb(payload))
                socket.send_multipart([client, msgpack.packb({"v": 1, "type": "resetting"})])

        server = threading.Thread(target=serve)
        server.start()
        with LineClient(
            endpoint, options=WireOptions(keys=_Keys(line_public, public, secret))
        ) as client:
            client.reset(PATIENCE_S)
        with LineClient(endpoint) as stranger, pytest.raises(LineSilentError):
            stranger.reset(0.3)
        server.join()
        assert heard == [{"v": 1, "type": "reset"}]
    with pytest.raises(ValueError, match="nonsense"):
        LineClient("nonsense")
