import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.errors import UsageError
from anomalyclip.live import metrics as module
from anomalyclip.live.health import listen, served
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.sinks.couriers import Courier
from anomalyclip.live.sinks.messages import first_message
from anomalyclip.live.sinks.outbox import Outbox
from anomalyclip.live.sinks.webhook import Webhook


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["front", "yard"])


@pytest.fixture
def address(metrics: Metrics) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    with served(metrics, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figures(text: str) -> dict[str, float]:
    rows = re.findall(r"^anomalyclip_live_(\w+(?:\{.*\})?) ([\d.e+-]+|NaN)$", text, re.MULTILINE)
    return {name: float(value) for name, value in rows}


def test_prometheus_reads_what_the_loop_tells(metrics: Metrics, address: str, tmp_path: Path) -> None:
    webhook = Webhook("https://user:hunter2@hooks.example.org/T0KEN", None)
    outbox = Outbox(tmp_path / "o", [webhook.key])
    outbox.put(first_message("a", "anomaly", "front", {}))
    metrics.show_sinks([Courier(webhook, outbox)], outbox)
    metrics.taken("front", frames=5, dropped=2, depth=7)
    metrics.sees("front", True)
    metrics.scored("front", np.array([0.0]))
    metrics.event("front", "Fire", "alert")
    metrics.model("models:/m/1")
    metrics.model("models:/m/2")
    status, text = get(f"{address}/metrics")
    found = figures(text)
    assert status == 200
    assert found['frames_total{source="front"}'] == 5
    assert found['frames_total{source="yard"}'] == 0
    assert found['frames_dropped_total{source="front"}'] == 2
    assert found['queue_frames{source="front"}'] == 7
    assert (found['source_up{source="front"}'], found['source_up{source="yard"}']) == (1, 0)
    assert 0 <= found['last_frame_seconds{source="front"}'] < 10
    assert found['delay_seconds_count{source="front"}'] == 1
    assert found['events_total{label="Fire",severity="alert",source="front"}'] == 1
    assert found['sink_waiting{sink="webhook https://hooks.example.org"}'] == 1
    assert [name for name in found if name.startswith("model_info")] == ['model_info{model="models:/m/2"}']
    assert "hunter2" not in text and "T0KEN" not in text


def test_it_is_healthy_while_the_loop_turns_and_a_source_is_up(
    metrics: Metrics, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(f"{address}/healthz") == (503, "no source gives frames\n")
    metrics.sees("yard", True)
    assert get(f"{address}/healthz") == (200, "ok\n")
    monkeypatch.setattr(module, "STALLED_SECONDS", -1)
    assert get(f"{address}/healthz") == (503, "the loop has not turned for 0 s\n")
    assert get(f"{address}/other")[0] == 404


def test_a_port_that_is_taken_is_refused() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(
        UsageError, match=f"live.host=127.0.0.1, live.port={port}: Address already in use; give another"
    ):
        listen("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"live.host=192.0.2.1, .*Cannot assign"):
        listen("192.0.2.1", 0)
    with pytest.raises(UsageError, match=r"live\.host=nobody\.invalid"):
        listen("nobody.invalid", 0)


def test_the_port_is_free_again_afterwards_and_no_thread_is_left(metrics: Metrics) -> None:
    before, listener = threading.active_count(), listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with served(metrics, listener):
        get(f"http://127.0.0.1:{port}/healthz")
    assert threading.active_count() == before
    listen("127.0.0.1", port).close()
