import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.live.sinks import mqtt
from anomalyclip.live.sinks.couriers import Courier, UndeliveredError, drain
from anomalyclip.live.sinks.messages import first_message
from anomalyclip.live.sinks.mqtt import Mqtt
from anomalyclip.live.sinks.outbox import Outbox
from tests.receivers import Broker, Subscriber, broker, wait_until


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path) as own:
        yield own


def test_a_broker_that_restarts_gets_everything_once_and_in_order(tmp_path: Path, own_broker: Broker) -> None:
    subscriber, sink = Subscriber(own_broker.port), Mqtt(own_broker.url)
    sink._client.reconnect_delay_set(1, 1)
    outbox = Outbox(tmp_path / "o", [sink.key])
    courier = Courier(sink, outbox, longest_pause=0.05)
    courier.start()
    for number in range(9):
        if number == 3:
            wait_until(lambda: len(subscriber.of("anomalyclip/front/events")) == 3)
            own_broker.down()
        if number == 6:
            own_broker.up()
        outbox.put(first_message(str(number), "anomaly", "front", {}))
    wait_until(lambda: '"8/1"' in subscriber.of("anomalyclip/front/events")[-1])
    drain([courier], 5)
    wait_until(lambda: subscriber.of("anomalyclip/available")[-1] == "offline")
    subscriber.close()
    found = [json.loads(text)["id"] for text in subscriber.of("anomalyclip/front/events")]
    # the broker may repeat to the subscriber what that had confirmed just before the restart
    assert list(dict.fromkeys(found)) == [str(number) for number in range(9)]
    assert (courier.delivered, outbox.depth(sink.key)) == (9, 0)


def test_a_message_that_is_not_confirmed_is_waited_for_and_not_published_again(
    own_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "CONFIRM_SECONDS", 0.1)
    subscriber, sink = Subscriber(own_broker.port), Mqtt(own_broker.url)
    sink.open()
    sink.send(first_message("a", "anomaly", "front", {}))
    own_broker.freeze()
    for _ in range(3):
        with pytest.raises(UndeliveredError, match="no confirmation"):
            sink.send(first_message("b", "anomaly", "front", {}))
    own_broker.thaw()
    monkeypatch.setattr(mqtt, "CONFIRM_SECONDS", 10)
    for id in "bc":
        sink.send(first_message(id, "anomaly", "front", {}))
    wait_until(lambda: len(subscriber.of("anomalyclip/front/events")) >= 3)
    sink.close()
    subscriber.close()
    assert [json.loads(text)["id"] for text in subscriber.of("anomalyclip/front/events")] == ["a", "b", "c"]


def test_who_comes_later_is_told_whether_it_is_there_and_hears_of_its_death(tmp_path: Path, own_broker: Broker) -> None:
    sink = Mqtt(f"{own_broker.url}/site/one")
    sink.open()
    sink.send(first_message("a", "anomaly", "front", {}))
    subscriber = Subscriber(own_broker.port, "site/one/#")
    wait_until(lambda: subscriber.of("site/one/available") == ["online"])  # retained; the event is not
    sink._client.socket().close()  # as if its process had been killed
    wait_until(lambda: "offline" in subscriber.of("site/one/available"))
    assert subscriber.of("site/one/front/events") == []
    sink.close()
    subscriber.close()


def test_a_wrong_login_is_named_without_showing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_SECONDS", 0.5)
    (tmp_path / "logins").write_text("")
    with broker(tmp_path, "allow_anonymous false", f"password_file {tmp_path}/logins") as own:
        sink = Mqtt(own.url.replace("//", "//operator:hunter2@"))
        sink.open()
        with pytest.raises(UndeliveredError, match="the broker answers: Not authorized") as error:
            sink.send(first_message("a", "anomaly", "front", {}))
        sink.close()
    assert "hunter2" not in f"{error.value} {sink.name} {sink.key}"


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "mqtt://",
        "broker:1883",
        "mqtt://host:x",
        "mqtt://host/a/#",
        "mqtt://host/+",
        "mqtt://[::1",
        "mqtt://h/\udcff",
        "mqtt://h/\0",
        "mqtt://user:1/word@host",
    ],
)
def test_another_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--mqtt takes an address such as"):
        Mqtt(url)


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'anomalyclip\[mqtt\]'"):
        Mqtt("mqtt://host")


def test_a_broker_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_SECONDS", 0.05)
    sink = Mqtt("mqtt://127.0.0.1:9")
    sink.open()
    with pytest.raises(UndeliveredError, match="no connection"):
        sink.send(first_message("a", "anomaly", "front", {}))
    sink.close()


def test_tls_asks_for_a_certificate() -> None:
    sink = Mqtt("mqtts://broker.example.org")
    context = sink._client._ssl_context
    assert (sink.name, context.check_hostname) == ("mqtts://broker.example.org:8883", True)
