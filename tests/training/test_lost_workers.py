"""A training tells what it has lost and what it waits for, and does not wait for ever."""

import logging
from collections.abc import Callable

import pytest

from anomalyclip.errors import JobError
from anomalyclip.training import lost_workers
from anomalyclip.training.lost_workers import LostWorkers
from anomalyclip.training.ray_training import _cause


class Cluster:
    """A cluster with room for two workers, of which a node was lost long ago."""

    def __init__(self) -> None:
        self.room, self.lost, self.text = 2, {"a": "10.0.0.1"}, list[str]()

    def watched(self) -> LostWorkers:
        told: Callable[[], str | None] = lambda: self.text.pop() if self.text else None  # noqa: E731
        return LostWorkers(2, "1 CPUs", lambda: self.room, lambda: self.lost, told)


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anomalyclip")


def test_nothing_is_said_while_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    watched = Cluster().watched()
    watched.look()
    watched.look()
    assert caplog.messages == []


def test_a_lost_node_is_told_once_with_what_is_waited_for_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    watched = cluster.watched()
    cluster.lost, cluster.room = {**cluster.lost, "b": "10.0.0.2"}, 1
    watched.look()
    watched.look()
    assert caplog.messages == [
        "node 10.0.0.2 is lost, with its workers",
        "training waits for room: it needs 2 workers with 1 CPUs each, and the cluster's nodes can hold 1; "
        "it gives up in 600 s",
    ]  # fmt: skip
    caplog.clear()
    cluster.room = 3
    watched.look()
    assert caplog.messages == ["the cluster has room for all 2 workers again"]


def test_what_was_told_of_a_worker_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.text.append("worker 1 is lost")
    watched = cluster.watched()
    watched.look()
    watched.look()
    assert caplog.messages == ["worker 1 is lost"]


def test_a_connection_that_another_workers_death_has_cut_is_said_in_words() -> None:
    cut = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.2]:4: Connection reset by peer"
    assert _cause(RuntimeError(cut)) == "its connection to another worker broke, which is lost too"
    assert _cause(ValueError("shapes differ")) == "shapes differ"


def test_a_training_without_room_fails_after_a_while_with_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    watched, cluster.room = cluster.watched(), 0
    watched.look()
    watched.look()
    monkeypatch.setattr(lost_workers, "WAIT_SECONDS", -1.0)
    with pytest.raises(JobError, match=r"can hold 0\. Start nodes again .* same command, .*training\.workers=N"):
        watched.look()
