"""The MQTT bridge without a broker: what is published where, and what clients may say."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.config.bridge_mqtt import MqttSettings
from kenpin.runtime.bridges.link import Unsaid
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.hub import FRESH_NS, Hub, Outgoing
from kenpin.runtime.bridges.mqtt.pictures import Pictures
from kenpin.runtime.wire.client import Heard
from wire_samples import verdict_message

NOW_NS = 10**12


class Link:
    """The line, to one client."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def say(self, kind: str, **fields: Any) -> None:
        self.said.append((kind, fields))

    def begin(self, session: str) -> None:
        self.said.append(("hello", {"session": session}))

    def close(self) -> None:
        self.closed = True


class Played:
    """A hub between a broker and a line that a test plays."""

    def __init__(self, *, most: int = 2, room_bytes: int = 100) -> None:
        self.sent: list[Outgoing] = []
        self.there = True
        self.links: dict[str, Link] = {}
        self.told: dict[str, Callable[[Heard | Unsaid], None]] = {}
        self.pictures = Pictures(room_bytes)
        self.hub = Hub(self._send, self._open, Backlog(10_000), most, self.pictures)

    def _send(self, outgoing: Outgoing) -> bool:
        if self.there:
            self.sent.append(outgoing)
        return self.there

    def _open(self, name: str, told: Callable[[Heard | Unsaid], None]) -> Link:
        self.links[name], self.told[name] = Link(), told
        return self.links[name]

    def publish(self, kind: str, **fields: Any) -> None:
        said = {"type": kind, "t_mono_ns": NOW_NS, "boot": "1"} | fields
        self.hub.published(Heard(kind, said, NOW_NS, f"v1/{kind}/web-1"), NOW_NS)

    def say(
        self, topic: str, *, retained: bool = False, now_ns: int = NOW_NS, **fields: Any
    ) -> None:
        self.hub.said(topic, json.dumps(fields).encode(), now_ns, retained=retained)

    @property
    def error(self) -> str:
        """The detail of the last error that a client was told."""
        assert self.sent[-1].topic.endswith("/error")
        detail: str = json.loads(self.sent[-1].payload)["detail"]
        return detail


def test_each_kind_has_its_topic_and_its_quality() -> None:
    played = Played()
    verdict = verdict_message().model_dump(mode="json") | {"t_mono_ns": NOW_NS}
    played.publish("verdict", **verdict)
    played.publish("state", state="operational.ready")
    played.publish("hb", hb_seq=1)
    played.publish("alarm", source="plc/1 +", active=True)
    played.publish("roll", page="x")
    assert [(o.topic, o.qos, o.retain) for o in played.sent] == [
        ("verdict", 1, False),
        ("state", 1, True),
        ("hb", 0, False),
        ("alarm/plc_1__", 1, True),
        ("roll", 1, False),
    ]
    assert json.loads(played.sent[0].payload) == verdict


def test_verdicts_wait_for_a_broker_that_is_away_and_the_rest_does_not() -> None:
    played = Played()
    played.there = False
    played.publish("verdict", seq=1)
    played.publish("hb", hb_seq=1)
    played.publish("state", state="operational.ready")
    assert len(played.hub.store) == 1
    played.there = True
    played.hub.connected()
    assert [o.topic for o in played.sent] == ["state"], "what is true now; no old heartbeat"


def _alarms(played: Played) -> list[tuple[str, bool]]:
    said = [(o.topic, json.loads(o.payload)) for o in played.sent if o.retain]
    return [(topic, fields["active"]) for topic, fields in said if fields["type"] == "alarm"]


def test_an_alarm_of_a_former_start_is_over_at_the_next() -> None:
    played = Played()
    played.publish("alarm", source="camera", active=True)
    played.publish("alarm", source="disk", active=False)
    played.publish("hb", hb_seq=2)
    assert _alarms(played) == [("alarm/camera", True), ("alarm/disk", False)]
    played.publish("hb", hb_seq=1, boot="2")
    assert _alarms(played)[2:] == [("alarm/camera", False)]
    # A broker that lost it is told what is true now.
    played.hub.connected()
    assert dict(_alarms(played)[3:])["alarm/camera"] is False


def kept(source: str, boot: str, **more: object) -> tuple[str, bytes]:
    fields = {"v": 1, "type": "alarm", "box": "b", "line": "web-1", "boot": boot, "t_mono_ns": 1}
    fields |= {"source": source, "active": True, "detail": "it is warm"} | more
    return f"alarm/{source}", json.dumps(fields).encode()


def test_an_alarm_that_the_broker_kept_through_a_restart_of_the_box_is_over() -> None:
    before, now = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    played = Played()
    for one in (kept("camera", before), kept("disk", now), kept("lamp", before, active=False)):
        played.hub.kept(*one)
    assert _alarms(played) == [], "nobody knows yet which start this is"
    played.publish("hb", hb_seq=1, boot=now)
    played.hub.kept(*kept("clock", before))
    assert _alarms(played) == [("alarm/camera", False), ("alarm/clock", False)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no JSON",
        b"[" * 3000,
        b'{"boot": "1"}',
        b" " * 10**6,
        kept("a", "no number")[1],
        kept("a", str(uuid.UUID(int=1)), detail="\ud800")[1],
    ],
)
def test_what_others_leave_beside_the_alarms_is_nothing_to_a_bridge(payload: bytes) -> None:
    played = Played()
    played.publish("hb", hb_seq=1)
    played.hub.kept("alarm/a", payload)
    assert [o.topic for o in played.sent] == ["hb"]


def test_no_more_alarms_are_remembered_than_a_line_has() -> None:
    played = Played()
    for number in range(1000):
        played.hub.kept(*kept(f"a{number}", str(uuid.UUID(int=1))))
    played.publish("hb", hb_seq=1)
    assert len(_alarms(played)) == 64
    # Nor later: what was ended is the broker's to keep.
    for number in range(1000):
        played.hub.kept(*kept(f"b{number}", str(uuid.UUID(int=1))))
    played.sent.clear()
    played.hub.connected()
    assert played.sent == []


def test_a_verdict_that_is_told_late_is_none_for_a_gate() -> None:
    played = Played()
    played.publish("verdict", seq=1, t_mono_ns=NOW_NS - FRESH_NS - 1)
    assert played.sent == []
    assert len(played.hub.store) == 1


def test_a_client_talks_with_the_line_under_its_own_name() -> None:
    played = Played()
    played.say("in/plc-7/hello", session="77")
    played.say("in/plc-7/trigger", trig="1", session="77")
    played.say("in/plc-7/ack", seq=5)
    assert played.links["plc-7"].said == [
        ("hello", {"session": "77"}),
        ("trigger", {"trig": "1", "session": "77"}),
        ("ack", {"seq": 5}),
    ]
    played.told["plc-7"](Heard("verdict", {"trig": "1", "t_mono_ns": 5}, 0))
    assert (played.sent[-1].topic, played.sent[-1].qos) == ("to/plc-7/verdict", 0)
    played.told["plc-7"](Unsaid("trigger", {"trig": "2"}, "nobody answers"))
    assert played.error == "nobody answers"
    played.hub.close()
    assert played.links["plc-7"].closed


@pytest.mark.parametrize(
    ("topic", "fields", "why"),
    [
        ("in/a/shoot", {}, "expected one of"),
        ("in/a/trigger", {}, "Field required"),
        ("in/a/trigger", {"trig": "1"}, "without a session"),
        ("in/a/hello", {}, "without a session"),
        ("in/a/trigger", {"trig": "1", "colour": 2}, "colour"),
        ("in/a/trigger", {"trig": "1", "kind": "ack", "within_s": 9}, "kind"),
        ("in/a/ack", {"seq": True}, "seq"),
    ],
)
def test_what_is_no_command_is_told_to_whoever_sent_it(
    topic: str, fields: dict[str, Any], why: str
) -> None:
    played = Played()
    played.say(topic, **fields)
    assert why in played.error
    assert played.links == {}


def test_a_retained_trigger_shoots_nothing() -> None:
    played = Played()
    played.say("in/a/trigger", retained=True, trig="1")
    assert "without retain" in played.error
    assert played.links == {}


def test_more_clients_than_allowed_are_turned_away() -> None:
    played = Played(most=1)
    played.say("in/a/hello", session="1")
    played.say("in/b/hello", session="1")
    assert "1 clients are there already" in played.error
    assert set(played.links) == {"a"}


def test_whoever_has_been_silent_longest_makes_room_after_a_minute() -> None:
    played, minute_ns = Played(most=2), 60 * 10**9
    played.say("in/a/hello", session="1")
    played.say("in/b/hello", session="1")
    played.say("in/a/trigger", trig="1", session="1", now_ns=NOW_NS + 5)
    played.say("in/c/hello", session="1", now_ns=NOW_NS + minute_ns + 1)
    closed = {name: link.closed for name, link in played.links.items()}
    assert closed == {"a": False, "b": True, "c": False}
    played.say("in/b/hello", session="2", now_ns=NOW_NS + minute_ns + 2)
    assert "2 clients are there already" in played.error


def test_a_client_gets_the_picture_that_it_asks_for() -> None:
    played = Played()
    played.say("in/a/picture")
    assert "none yet" in played.error
    for seq in (3, 4, 5):
        played.pictures.add("boot", seq, bytes([seq]) * 40)
    played.say("in/a/picture")
    assert (played.sent[-1].topic, played.sent[-1].payload) == ("to/a/picture/5", b"\5" * 40)
    assert not played.sent[-1].retain
    played.say("in/a/picture", seq=4)
    assert played.sent[-1].topic == "to/a/picture/4"
    played.say("in/a/picture", seq=3)
    assert "no picture of verdict 3: kept are 4 to 5" in played.error
    played.say("in/a/picture", seq="4")
    assert "seq" in played.error
    played.say("in/a/picture", retained=True)
    assert "without retain" in played.error
    assert played.links == {}, "looking at pictures is no talk with the line"
    played.pictures.add("another boot", 1, b"new")
    played.say("in/a/picture", seq=4)
    assert "kept are 1 to 1" in played.error


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 200)), max_size=40))
def test_pictures_never_take_more_than_their_room(added: list[tuple[int, int]]) -> None:
    pictures = Pictures(300)
    for seq, size in added:
        pictures.add("boot", seq, bytes(size))
        kept = [found for n in range(1, 10) if (found := pictures.find(n))]
        assert sum(len(picture) for _, picture in kept) == pictures.used_bytes <= 300
        assert pictures.find(None) is not None


def test_a_bridge_that_keeps_none_says_so() -> None:
    played = Played(room_bytes=0)
    played.pictures.add("boot", 1, b"x")
    played.say("in/a/picture")
    assert "set picture_bytes" in played.error


@given(st.text(max_size=40), st.binary(max_size=200), st.booleans())
def test_whatever_a_client_publishes_is_dealt_with(
    topic: str, payload: bytes, retained: bool
) -> None:
    played = Played()
    for prefix in ("", "in/", "in/a/", "in/a/trigger"):
        played.hub.said(prefix + topic, payload, NOW_NS, retained=retained)


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(0, 5000))
def test_the_store_keeps_the_newest_that_find_room(sizes: list[int], room: int) -> None:
    store, given_in = Backlog(room), []
    for number, size in enumerate(sizes):
        payload = number.to_bytes(2, "big") + bytes(size)
        store.add(payload)
        given_in.append(payload)
        assert store.used_bytes <= room
    kept = [store.take() for _ in range(len(store))]
    assert kept == given_in[len(given_in) - len(kept) :]
    assert store.lost == len(given_in) - len(kept)
    assert store.used_bytes == 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"host": "broker.plant"}, "ca, user, password_file not set"),
        ({"host": "10.0.0.7", "ca": "ca.pem"}, "user, password_file not set"),
        ({"user": "kenpin"}, "go together"),
        ({"prefix": "a/b"}, "pattern"),
    ],
)
def test_a_broker_elsewhere_needs_tls_and_a_password(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MqttSettings.model_validate({"kind": "mqtt"} | settings)
    for host in ("127.0.0.1", "localhost", "::1"):
        MqttSettings(kind="mqtt", host=host)
    MqttSettings(kind="mqtt", host="b.plant", ca=Path("c"), user="u", password_file=Path("p"))
