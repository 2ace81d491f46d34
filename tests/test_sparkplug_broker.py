"""The Sparkplug bridge with a real broker: the specification's testable assertions, and promises.

What the edge node really sent is kept between it and mosquitto, and read by protobuf's own library.
Names are those of the Sparkplug specification 3.0.0. Not here, because the bridge has none of it:
host applications (STATE), a primary host, aliases, templates, DataSets, properties, NDATA, MQTT 5.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from bridge_process import BridgeProcess, free_port, lying_facts
from bridge_promises import check_every_promise
from kenpin.config.bridge_sparkplug import SparkplugSettings
from kenpin.runtime.bridges.sparkplug.metrics import METRICS
from lying_line import LyingLine
from mosquitto import MOSQUITTO, Mosquitto
from mqtt_tap import CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, Packet, Tap
from sparkplug_proto import payload_class
from test_bridges import Each, inspect, until
from test_mqtt_broker import broker  # noqa: F401
from test_sparkplug import command

pytestmark = [
    pytest.mark.clock,
    pytest.mark.real,
    pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto: apt-get install mosquitto"),
]

PAYLOAD = payload_class()
GROUP, NODE, DEVICE = "kenpin", "box-7-web-1", "web-1"
INT64, BOOLEAN = 4, 11
REBIRTH = "Node Control/Rebirth"


@dataclass
class Sent:
    """One message of the edge node."""

    kind: str
    packet: Packet
    says: Any

    def metric(self, name: str) -> Any:
        (found,) = (metric for metric in self.says.metrics if metric.name == name)
        return found


@dataclass
class Life:
    """One session of the edge node: its CONNECT, what it subscribed to and published.

    order  kinds of all its packets
    will   of its CONNECT
    """

    connect: Packet
    subscribed: list[Packet]
    sent: list[Sent]
    order: list[int]
    will: Any

    def of(self, *kinds: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.kind in kinds]


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Life]]:
    """An edge node's sessions: parts, more than 256 messages, a rebirth, a cut, the line's end."""
    folder = tmp_path_factory.mktemp("sparkplug")
    line = LyingLine(folder, free=True)
    line.__enter__()
    with Mosquitto(folder, free_port()) as real, Tap(real.port) as tap:
        host = mqtt.Client(CallbackAPIVersion.VERSION2)
        host.connect("127.0.0.1", real.port)
        host.loop_start()
        settings = SparkplugSettings(kind="sparkplug", port=tap.port)
        with BridgeProcess(settings, lying_facts(line)) as process:

            def count(kind: str) -> int:
                return sum(len(life.of(kind)) for life in _lives(tap))

            until(lambda: count("DDATA") > 3, f"no data: {process.fault}")
            where = f"spBv1.0/{GROUP}/%s/{NODE}"
            device = f"{where % 'DCMD'}/{DEVICE}"
            host.publish(device, command(Session="77"))

            def judged() -> bool:
                """As a host does that was not heard: it asks once more about the same part."""
                host.publish(device, command(Session="77", Trigger="p-1"))
                time.sleep(0.2)
                return "p-1" in _triggers(_lives(tap)[0])

            until(judged, "the host's part was never judged")
            until(lambda: count("DDATA") > 300, "not 300 messages")
            rebirth = PAYLOAD(timestamp=time.time_ns() // 10**6)
            rebirth.metrics.add(name=REBIRTH, boolean_value=True)
            host.publish(where % "NCMD", rebirth.SerializeToString())
            until(lambda: count("NBIRTH") == 2, "no rebirth")
            before = count("DDATA")
            until(lambda: count("DDATA") > before + 5, "no data after the rebirth")
            tap.cut()
            until(lambda: count("NBIRTH") == 3, "it did not come back")
            until(lambda: _lives(tap)[-1].of("DBIRTH") != [], "the line was not born again")
            line.__exit__()
            until(lambda: _lives(tap)[-1].sent[-1].kind == "DDEATH", "its end was not told")
        host.disconnect()
        host.loop_stop()
        until(lambda: DISCONNECT in _lives(tap)[-1].order, "no goodbye")
        yield _lives(tap)


def _triggers(life: Life) -> set[str]:
    data = (metric for sent in life.of("DDATA") for metric in sent.says.metrics)
    return {metric.string_value for metric in data if metric.name == "Verdict/Trigger"}


def _lives(tap: Tap) -> list[Life]:
    found = []
    for session in tap.sessions:
        packets = session.packets()
        if not packets:
            continue
        sent = [
            Sent(packet.topic.split("/")[2], packet, PAYLOAD.FromString(packet.payload))
            for packet in packets
            if packet.kind == PUBLISH
        ]
        connect = packets[0]
        subscribed = [packet for packet in packets if packet.kind == SUBSCRIBE]
        order = [packet.kind for packet in packets]
        will = PAYLOAD.FromString(connect.payload)
        found.append(Life(connect, subscribed, sent, order, will))
    return found


# -- the assertions --------------------------------------------------------------------------------


def _bdseq(says: Any) -> int:
    (found,) = (metric.long_value for metric in says.metrics if metric.name == "bdSeq")
    number: int = found
    return number


def _where(kind: str, *rest: str) -> str:
    return "/".join(["spBv1.0", GROUP, kind, NODE, *rest])


def _topic(kind: str) -> Callable[[Life], bool]:
    wanted = _where(kind, DEVICE) if kind.startswith("D") else _where(kind)
    return lambda life: all(sent.packet.topic == wanted for sent in life.of(kind))


def _qos_0(kind: str) -> Callable[[Life], bool]:
    return lambda life: all(sent.packet.qos == 0 for sent in life.of(kind))


def _kept_never(kind: str) -> Callable[[Life], bool]:
    return lambda life: not any(sent.packet.retain for sent in life.of(kind))


def _both(*checks: Callable[[Life], bool]) -> Callable[[Life], bool]:
    return lambda life: all(check(life) for check in checks)


def _stamped(kind: str) -> Callable[[Life], bool]:
    return lambda life: all(
        abs(sent.says.timestamp / 1000 - time.time()) < 3600 for sent in life.of(kind)
    )


def _in_range(kind: str) -> Callable[[Life], bool]:
    return lambda life: all(
        sent.says.HasField("seq") and 0 <= sent.says.seq <= 255 for sent in life.of(kind)
    )


def _one_more(kind: str) -> Callable[[Life], bool]:
    def check(life: Life) -> bool:
        numbered = [sent for sent in life.sent if sent.kind != "NDEATH"]
        return all(
            after.says.seq == (before.says.seq + 1) % 256
            for before, after in itertools.pairwise(numbered)
            if after.kind == kind
        )

    return check


def _zero(life: Life) -> bool:
    return all(sent.says.HasField("seq") and sent.says.seq == 0 for sent in life.of("NBIRTH"))


def _same_bdseq(life: Life) -> bool:
    return all(_bdseq(sent.says) == _bdseq(life.will) for sent in life.of("NBIRTH", "NDEATH"))


def _bdseq_is_int64(says: Any) -> bool:
    return any(metric.name == "bdSeq" and metric.datatype == INT64 for metric in says.metrics)


def _bdseq_in_births(life: Life) -> bool:
    return all(_bdseq_is_int64(sent.says) for sent in life.of("NBIRTH"))


def _rebirth_false(life: Life) -> bool:
    found = [sent.metric(REBIRTH) for sent in life.of("NBIRTH")]
    return all(one.datatype == BOOLEAN and one.boolean_value is False for one in found)


def _whole_metrics(kind: str) -> Callable[[Life], bool]:
    return lambda life: all(
        metric.name and metric.HasField("datatype") and _has_value(metric)
        for sent in life.of(kind)
        for metric in sent.says.metrics
    )


def _has_value(metric: Any) -> bool:
    return bool((metric.WhichOneof("value") is None) == metric.is_null)


def _all_told_before(birth: str, data: str) -> Callable[[Life], bool]:
    def check(life: Life) -> bool:
        born = {metric.name for sent in life.of(birth) for metric in sent.says.metrics}
        said = {metric.name for sent in life.of(data) for metric in sent.says.metrics}
        return said <= born

    return check


def _data_after_births(life: Life) -> bool:
    born = False
    for sent in life.sent:
        born = {"NBIRTH": False, "DBIRTH": True, "DDEATH": False}.get(sent.kind, born)
        if sent.kind == "DDATA" and not born:
            return False
    return True


def _dbirth_follows(life: Life) -> bool:
    kinds = [sent.kind for sent in life.sent]
    return all(kinds[at + 1] == "DBIRTH" for at, kind in enumerate(kinds) if kind == "NBIRTH")


def _first_is_birth(life: Life) -> bool:
    return life.sent[0].kind == "NBIRTH"


def _session_first(life: Life) -> bool:
    return life.order[0] == CONNECT and life.order[1] == SUBSCRIBE


def _subscribed(topic: str) -> Callable[[Life], bool]:
    return lambda life: [one.qos for one in life.subscribed if one.topic == topic] == [1]


def _goodbye(life: Life) -> bool:
    if DISCONNECT not in life.order:
        return True
    return life.sent[-1].kind == "NDEATH" and life.order[-2:] == [PUBLISH, DISCONNECT]


def _ids(life: Life) -> bool:
    if any(set(level) & set("+#/") for level in (GROUP, NODE, DEVICE)):
        return False
    device = {True: [DEVICE], False: []}
    return all(
        sent.packet.topic == _where(sent.kind, *device[sent.kind.startswith("D")])
        for sent in life.sent
    )


def _timed(*kinds: str) -> Callable[[Life], bool]:
    return lambda life: all(
        abs(metric.timestamp / 1000 - time.time()) < 3600
        for sent in life.of(*kinds)
        for metric in sent.says.metrics
    )


def _typed(life: Life) -> bool:
    known = {int(kind) for kind in METRICS.values()} | {INT64, BOOLEAN}
    births = life.of("NBIRTH", "DBIRTH")
    return all(metric.datatype in known for sent in births for metric in sent.says.metrics)


def _untyped(life: Life) -> bool:
    return not any(m.HasField("datatype") for sent in life.of("DDATA") for m in sent.says.metrics)


def _death_is_bdseq(life: Life) -> bool:
    deaths = [life.will, *(sent.says for sent in life.of("NDEATH"))]
    return all([metric.name for metric in death.metrics] == ["bdSeq"] for death in deaths)


def _death_has_no_seq(life: Life) -> bool:
    return not any(
        says.HasField("seq") for says in [life.will, *(s.says for s in life.of("NDEATH"))]
    )


def _will_is_death(life: Life) -> bool:
    return life.connect.topic == _where("NDEATH") and bool(life.will.metrics)


def _chronological(*kinds: str) -> Callable[[Life], bool]:
    def check(life: Life) -> bool:
        stamps = [
            [metric.timestamp for metric in sent.says.metrics if not metric.is_historical]
            for sent in life.of(*kinds)
        ]
        return all(found == sorted(found) for found in stamps)

    return check


def _no_two_by_case(life: Life) -> bool:
    names = {metric.name for sent in life.sent for metric in sent.says.metrics}
    return len(names) == len({name.lower() for name in names})


def _named(life: Life) -> bool:
    return all(metric.name for sent in life.sent for metric in sent.says.metrics)


_SEQ_OF_DEVICE = _both(_in_range("DBIRTH"), _one_more("DBIRTH"))
_DATA_SEQ = _both(_in_range("DDATA"), _one_more("DDATA"))
_DEATH_SEQ = _both(_in_range("DDEATH"), _one_more("DDEATH"))

# Of one session; every one of them must hold in each.
OF_A_SESSION: dict[str, Callable[[Life], bool]] = {
    "intro-group-id-string": _ids,
    "intro-group-id-chars": _ids,
    "intro-edge-node-id-string": _ids,
    "intro-edge-node-id-chars": _ids,
    "intro-device-id-string": _ids,
    "intro-device-id-chars": _ids,
    "principles-birth-certificates-order": _first_is_birth,
    "principles-persistence-clean-session-311": lambda life: life.connect.clean,
    "topic-structure": _ids,
    "topic-structure-namespace-a": _ids,
    "topic-structure-namespace-valid-group-id": _ids,
    "topic-structure-namespace-valid-edge-node-id": _ids,
    "topic-structure-namespace-valid-device-id": _ids,
    "topic-structure-namespace-unique-device-id": _ids,
    "topic-structure-namespace-device-id-associated-message-types": _ids,
    "topic-structure-namespace-device-id-non-associated-message-types": _ids,
    "topics-nbirth-topic": _topic("NBIRTH"),
    "topics-nbirth-mqtt": _both(_qos_0("NBIRTH"), _kept_never("NBIRTH")),
    "topics-nbirth-seq-num": _zero,
    "topics-nbirth-timestamp": _stamped("NBIRTH"),
    "topics-nbirth-metrics": _whole_metrics("NBIRTH"),
    "topics-nbirth-bdseq-included": _bdseq_in_births,
    "topics-nbirth-bdseq-matching": _same_bdseq,
    "topics-nbirth-rebirth-metric": _rebirth_false,
    "topics-ndeath-topic": _both(_topic("NDEATH"), _will_is_death),
    "topics-ndeath-payload": _death_is_bdseq,
    "topics-ndeath-seq": _death_has_no_seq,
    "topics-dbirth-topic": _topic("DBIRTH"),
    "topics-dbirth-mqtt": _both(_qos_0("DBIRTH"), _kept_never("DBIRTH")),
    "topics-dbirth-seq": _SEQ_OF_DEVICE,
    "topics-dbirth-timestamp": _stamped("DBIRTH"),
    "topics-dbirth-metric-reqs": _all_told_before("DBIRTH", "DDATA"),
    "topics-dbirth-metrics": _whole_metrics("DBIRTH"),
    "topics-ddata-topic": _topic("DDATA"),
    "topics-ddata-mqtt": _both(_qos_0("DDATA"), _kept_never("DDATA")),
    "topics-ddata-seq-num": _DATA_SEQ,
    "topics-ddata-timestamp": _stamped("DDATA"),
    "topics-ddata-payload": lambda life: all(s.says.metrics for s in life.of("DDATA")),
    "topics-ddeath-topic": _topic("DDEATH"),
    "topics-ddeath-mqtt": _both(_qos_0("DDEATH"), _kept_never("DDEATH")),
    "topics-ddeath-seq-num": _DEATH_SEQ,
    "case-sensitivity-metric-names": _no_two_by_case,
    "message-flow-edge-node-ncmd-subscribe": _subscribed(_where("NCMD")),
    "message-flow-edge-node-birth-publish-connect": _session_first,
    "message-flow-edge-node-birth-publish-will-message": _will_is_death,
    "message-flow-edge-node-birth-publish-will-message-topic": _will_is_death,
    "message-flow-edge-node-birth-publish-will-message-payload": _will_is_death,
    "message-flow-edge-node-birth-publish-will-message-qos": lambda life: life.connect.qos == 1,
    "message-flow-edge-node-birth-publish-will-message-will-retained": (
        lambda life: not life.connect.retain
    ),
    "message-flow-edge-node-birth-publish-nbirth-topic": _topic("NBIRTH"),
    "message-flow-edge-node-birth-publish-nbirth-payload": _whole_metrics("NBIRTH"),
    "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq": _same_bdseq,
    "message-flow-edge-node-birth-publish-nbirth-qos": _qos_0("NBIRTH"),
    "message-flow-edge-node-birth-publish-nbirth-retained": _kept_never("NBIRTH"),
    "message-flow-edge-node-birth-publish-nbirth-payload-seq": _in_range("NBIRTH"),
    "operational-behavior-edge-node-intentional-disconnect-ndeath": _goodbye,
    "operational-behavior-edge-node-intentional-disconnect-packet": _goodbye,
    "message-flow-device-dcmd-subscribe": _subscribed(_where("DCMD", DEVICE)),
    "message-flow-device-birth-publish-nbirth-wait": _dbirth_follows,
    "message-flow-device-birth-publish-dbirth-topic": _topic("DBIRTH"),
    "message-flow-device-birth-publish-dbirth-match-edge-node-topic": _ids,
    "message-flow-device-birth-publish-dbirth-payload": _whole_metrics("DBIRTH"),
    "message-flow-device-birth-publish-dbirth-qos": _qos_0("DBIRTH"),
    "message-flow-device-birth-publish-dbirth-retained": _kept_never("DBIRTH"),
    "message-flow-device-birth-publish-dbirth-payload-seq": _SEQ_OF_DEVICE,
    "operational-behavior-data-publish-nbirth-values": _whole_metrics("NBIRTH"),
    "operational-behavior-data-publish-nbirth-order": _chronological("NBIRTH"),
    "operational-behavior-data-publish-dbirth": _all_told_before("DBIRTH", "DDATA"),
    "operational-behavior-data-publish-dbirth-values": _whole_metrics("DBIRTH"),
    "operational-behavior-data-publish-dbirth-order": _chronological("DBIRTH", "DDATA"),
    "operational-behavior-data-commands-rebirth-name": _rebirth_false,
    "operational-behavior-data-commands-rebirth-datatype": _rebirth_false,
    "operational-behavior-data-commands-rebirth-value": _rebirth_false,
    "payloads-sequence-num-always-included": _both(*map(_in_range, ("NBIRTH", "DBIRTH", "DDATA"))),
    "payloads-sequence-num-zero-nbirth": _zero,
    "payloads-sequence-num-incrementing": _DATA_SEQ,
    "payloads-name-requirement": _named,
    "payloads-name-birth-data-requirement": _timed("NBIRTH", "DBIRTH", "DDATA"),
    "payloads_metric_timestamp_in_UTC": _timed("NBIRTH", "DBIRTH", "DDATA"),
    "payloads-metric-datatype-value-type": _typed,
    "payloads-metric-datatype-value": _typed,
    "payloads-metric-datatype-req": _both(_whole_metrics("NBIRTH"), _whole_metrics("DBIRTH")),
    "payloads-metric-datatype-not-req": _untyped,
    "payloads-nbirth-timestamp": _stamped("NBIRTH"),
    "payloads-nbirth-seq": _in_range("NBIRTH"),
    "payloads-nbirth-bdseq": _same_bdseq,
    "payloads-nbirth-bdseq-repeat": _same_bdseq,
    "payloads-nbirth-rebirth-req": _rebirth_false,
    "payloads-nbirth-qos": _qos_0("NBIRTH"),
    "payloads-nbirth-retain": _kept_never("NBIRTH"),
    "payloads-dbirth-timestamp": _stamped("DBIRTH"),
    "payloads-dbirth-seq": _in_range("DBIRTH"),
    "payloads-dbirth-seq-inc": _one_more("DBIRTH"),
    "payloads-dbirth-order": _dbirth_follows,
    "payloads-dbirth-qos": _qos_0("DBIRTH"),
    "payloads-dbirth-retain": _kept_never("DBIRTH"),
    "payloads-ddata-timestamp": _stamped("DDATA"),
    "payloads-ddata-seq": _in_range("DDATA"),
    "payloads-ddata-seq-inc": _one_more("DDATA"),
    "payloads-ddata-order": _data_after_births,
    "payloads-ddata-qos": _qos_0("DDATA"),
    "payloads-ddata-retain": _kept_never("DDATA"),
    "payloads-ndeath-seq": _death_has_no_seq,
    "payloads-ndeath-will-message": _will_is_death,
    "payloads-ndeath-will-message-qos": lambda life: life.connect.qos == 1,
    "payloads-ndeath-will-message-retain": lambda life: not life.connect.retain,
    "payloads-ndeath-bdseq": _same_bdseq,
    "payloads-ndeath-will-message-publisher": _goodbye,
    "payloads-ndeath-will-message-publisher-disconnect-mqtt311": _goodbye,
    "payloads-ddeath-timestamp": _stamped("DDEATH"),
    "payloads-ddeath-seq": _in_range("DDEATH"),
    "payloads-ddeath-seq-inc": _one_more("DDEATH"),
    "payloads-ddeath-seq-number": _in_range("DDEATH"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_A_SESSION)
def test_in_each_session_the_assertion_holds(name: str, lives: list[Life]) -> None:
    for life in lives:
        assert OF_A_SESSION[name](life), f"tck-id-{name}"


def test_the_sessions_hold_what_the_assertions_are_about(lives: list[Life]) -> None:
    first, second = lives
    assert [len(first.of(kind)) for kind in ("NBIRTH", "NDEATH")] == [2, 0]
    assert [len(second.of(kind)) for kind in ("NBIRTH", "NDEATH")] == [1, 1]
    # On a crowded machine a line may be silent for 300 ms: it dies, and is born again.
    assert len(first.of("DBIRTH")) == 2 + len(first.of("DDEATH"))
    assert len(second.of("DBIRTH")) == len(second.of("DDEATH")) > 0
    assert len(first.of("DDATA")) > 300, "numbers begin again after 255"
    assert "p-1" in _triggers(first), "the part that a host triggered"


def test_bdseq_counts_the_sessions(lives: list[Life]) -> None:
    """tck-id-topics-nbirth-bdseq-increment, …-will-message-payload-bdSeq."""
    assert [_bdseq(life.will) for life in lives] == [0, 1]
    assert all(_bdseq_is_int64(life.will) for life in lives)


def test_a_rebirth_is_the_whole_birth_with_the_same_bdseq(lives: list[Life]) -> None:
    """tck-id-operational-behavior-data-commands-rebirth-action-1, -2 and -3."""
    first = lives[0]
    assert len({_bdseq(sent.says) for sent in first.of("NBIRTH")}) == 1
    at = next(n for n, sent in enumerate(first.sent) if n and sent.kind == "NBIRTH")
    assert first.sent[at + 1].kind == "DBIRTH"
    assert first.sent[at + 2].kind == "DDATA"


def test_the_end_of_the_line_is_a_death_of_the_device(lives: list[Life]) -> None:
    """tck-id-operational-behavior-device-ddeath."""
    assert [sent.kind for sent in lives[-1].sent][-2:] == ["DDEATH", "NDEATH"]


# -- promises --------------------------------------------------------------------------------------


def test_every_promise_holds_through_sparkplug_whatever_goes_wrong(
    tmp_path: Path,
    broker: Mosquitto,  # noqa: F811
) -> None:
    settings = SparkplugSettings(kind="sparkplug", port=broker.port)
    with LyingLine(tmp_path) as line, BridgeProcess(settings, lying_facts(line)) as process:
        until(lambda: any(t.address for t in process.reports), f"the bridge: {process.fault}")
        watch = inspect(line, settings, process, Each(), parts=55)
        assert process.process.restarts == 1
    check_every_promise(watch, 55)


def test_verdicts_that_waited_for_the_broker_are_told_as_history(
    tmp_path: Path,
    broker: Mosquitto,  # noqa: F811
) -> None:
    heard: list[Any] = []
    host = mqtt.Client(CallbackAPIVersion.VERSION2)
    host.on_message = lambda _client, _data, message: heard.append(message.payload)
    host.on_connect = lambda client, *_: client.subscribe(_where("DDATA", DEVICE))
    host.reconnect_delay_set(0.1, 0.2)
    host.connect("127.0.0.1", broker.port)
    host.loop_start()

    def numbers(*, historical: bool) -> set[int]:
        return {
            metric.long_value
            for payload in list(heard)
            for metric in PAYLOAD.FromString(payload).metrics
            if metric.name == "Verdict/Seq" and metric.is_historical == historical
        }

    settings = SparkplugSettings(kind="sparkplug", port=broker.port)
    with (
        LyingLine(tmp_path, free=True) as line,
        BridgeProcess(settings, lying_facts(line)) as process,
    ):
        until(lambda: len(numbers(historical=False)) > 20, f"no verdicts: {process.fault}")
        broker.stop()
        until(lambda: "no broker" in process.fault, "nothing was complained of")
        broker.start()
        until(lambda: len(numbers(historical=True)) > 5, "nothing was kept")
        fresh = len(numbers(historical=False))
        until(lambda: len(numbers(historical=False)) > fresh + 20, "it does not go on")

        def missing() -> set[int]:
            found = numbers(historical=True) | numbers(historical=False)
            return set(range(min(found), max(found) - 20)) - found

        # QoS 0: what was under way when the broker died is lost, and seen by its number.
        until(lambda: len(missing()) <= 5, "history ends before it is told")
    host.disconnect()
    host.loop_stop()


def test_what_stays_true_is_told_however_old_and_open_alarms_at_each_birth(
    tmp_path: Path,
    broker: Mosquitto,  # noqa: F811
) -> None:
    told: list[dict[str, Any]] = []

    def hear(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        for metric in PAYLOAD.FromString(message.payload).metrics:
            if metric.name == "Said/Message":
                told.append(json.loads(metric.string_value))

    def alarms() -> list[str]:
        return [said["source"] for said in list(told) if said["type"] == "alarm"]

    host = mqtt.Client(CallbackAPIVersion.VERSION2)
    host.on_message = hear
    host.on_connect = lambda client, *_: client.subscribe(_where("DDATA", DEVICE))
    host.connect("127.0.0.1", broker.port)
    host.loop_start()
    settings = SparkplugSettings(kind="sparkplug", port=broker.port)
    with (
        LyingLine(tmp_path, free=True) as line,
        BridgeProcess(settings, lying_facts(line)) as process,
    ):
        until(lambda: len(told) > 3, f"nothing is told: {process.fault}")
        # As after a stall: a second old, more than three heartbeats.
        old = {"t_mono_ns": time.monotonic_ns() - 10**9, "detail": ""}
        former = {"source": "lamp", "active": True, "boot": str(uuid.UUID(int=1))}
        line.to_publish.append(("alarm", old | former))
        before = len(told)
        until(lambda: not line.to_publish and len(told) > before + 20, "it does not go on")
        before = len(alarms())
        for source, active in (("camera", True), ("disk", True), ("disk", False)):
            line.to_publish.append(("alarm", old | {"source": source, "active": active}))
        once = ["camera", "disk", "disk"]
        until(lambda: alarms()[before:] == once, "an alarm was not told")
        rebirth = PAYLOAD(timestamp=time.time_ns() // 10**6)
        rebirth.metrics.add(name=REBIRTH, boolean_value=True)
        host.publish(_where("NCMD"), rebirth.SerializeToString())
        until(lambda: len(alarms()) > before + 3, "the open alarm was not told again")
        now = len(told)
        until(lambda: len(told) > now + 20, "it does not go on")
        assert alarms()[before + 3 :] == ["camera"]
    host.disconnect()
    host.loop_stop()
