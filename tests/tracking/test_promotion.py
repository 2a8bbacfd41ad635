import json
import multiprocessing
import os
import re
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from anomalyclip.errors import JobError, UsageError
from anomalyclip.tracking import promotion_lock
from anomalyclip.tracking.promotion import (
    CANDIDATE,
    CHAMPION,
    Decision,
    Entry,
    ModelRegistry,
    new_entry,
    previous_champion,
)
from anomalyclip.tracking.promotion_lock import find_lock, lock_name
from anomalyclip.tracking.server import connect


class Died(BaseException):
    """Stands for the end of a process."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_lock, "POLL_SECONDS", 0.01)


@pytest.fixture(scope="module")
def registry_uri(_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that the tests share: to open one takes longer than what they do there."""
    return f"sqlite:///{shutil.copy(_database, tmp_path_factory.mktemp('registry'))}"


@pytest.fixture
def registry(registry_uri: str) -> Iterator[ModelRegistry]:
    """A registered model of three versions, the second of which is the candidate."""
    client, name = connect(registry_uri), f"detector-{uuid.uuid4().hex}"
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, "/nowhere")
    registry = ModelRegistry(client, name)
    registry.set_candidate("2")
    yield registry
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def entry(decision: Decision, version: str, champion: str | None) -> Entry:
    return new_entry(decision, version, champion, "because")


def decisions(registry: ModelRegistry) -> list[tuple[str, str]]:
    return [(entry.decision, entry.version) for entry in registry.history()]


def described(registry: ModelRegistry) -> list[tuple[str, str]]:
    """The decisions that the registered model's page shows, the oldest first."""
    lines = registry.client.get_registered_model(registry.name).description.splitlines()
    rows = [[cell.strip() for cell in line.replace("&emsp;", "").split("|")] for line in lines if "| 20" in line]
    return [(row[3], row[2]) for row in reversed(rows)]


def locks(registry: ModelRegistry) -> list[str]:
    """What stands beside the registered model."""
    found = registry.client.search_registered_models(f"name LIKE '{registry.name}%'")
    return [model.name for model in found if model.name != registry.name]


def tag(registry: ModelRegistry, version: str) -> str | None:
    return registry.version(version).tags.get("promotion.decision")


def test_the_registry_says_who_is_in_service_and_what_was_decided(registry: ModelRegistry) -> None:
    registry.write(entry("refused", "2", None))
    assert (registry.aliased(CHAMPION), registry.aliased(CANDIDATE), tag(registry, "2")) == (None, "2", "refused")
    registry.write(entry("promoted", "2", None))
    assert (registry.aliased(CHAMPION), registry.aliased(CANDIDATE), tag(registry, "2")) == ("2", None, "promoted")
    registry.set_candidate("1")
    registry.write(entry("promoted", "3", "2"))
    assert (registry.aliased(CHAMPION), registry.aliased(CANDIDATE)) == ("3", "1")
    registry.write(entry("rolled back", "2", "3"))
    assert (registry.aliased(CHAMPION), tag(registry, "2"), tag(registry, "3")) == ("2", "put back", "rolled back")
    expected = [("refused", "2"), ("promoted", "2"), ("promoted", "3"), ("rolled back", "2")]
    assert decisions(registry) == expected
    assert locks(registry) == []


def test_a_reason_of_any_length_and_language_is_kept(registry: ModelRegistry) -> None:
    registry.write(new_entry("refused", "2", None, "Δ ≥ «ß» " * 500, "runs:/1/promotion.json"))
    (kept,) = registry.history()
    assert kept.why.startswith("Δ ≥ «ß» Δ")
    assert kept.why.endswith("…")
    assert len(registry.client.get_registered_model(registry.name).tags["promotion.0001"]) < 5000


def test_there_is_no_registry_of_a_model_that_nobody_registered(registry: ModelRegistry) -> None:
    with pytest.raises(UsageError, match="no registered model nobody"):
        ModelRegistry(registry.client, "nobody")
    for number in ("9", "x", "", "-1"):
        with pytest.raises(UsageError, match=f"{registry.name} has no version {number}"):
            registry.version(number)


HISTORIES: dict[str, tuple[list[Entry], str | None, str | None]] = {
    "nothing": ([], None, None),
    "the first": ([entry("promoted", "1", None)], "1", None),
    "the second": ([entry("promoted", "1", None), entry("promoted", "2", "1")], "2", "1"),
    "refused and undone do not count": (
        [entry("promoted", "1", None), entry("refused", "2", "1"), entry("promoted", "3", "1"),
         entry("undone", "4", "3")],
        "3", "1",
    ),
    "back again": (
        [entry("promoted", "1", None), entry("promoted", "2", "1"), entry("promoted", "3", "2"),
         entry("rolled back", "2", "3")],
        "2", "1",
    ),
    "back to the first": (
        [entry("promoted", "1", None), entry("promoted", "2", "1"), entry("rolled back", "1", "2")], "1", None,
    ),
    "on after going back": (
        [entry("promoted", "1", None), entry("promoted", "2", "1"), entry("rolled back", "1", "2"),
         entry("promoted", "3", "1")],
        "3", "1",
    ),
    "set by hand": ([entry("promoted", "1", None)], "7", "1"),
    "set by hand, then promoted": ([entry("promoted", "1", None), entry("promoted", "3", "7")], "3", "7"),
    "removed by hand": ([entry("promoted", "1", None)], None, "1"),
}  # fmt: skip


@pytest.mark.parametrize("case", HISTORIES)
def test_the_previous_champion_is_the_one_in_service_before(case: str) -> None:
    history, champion, expected = HISTORIES[case]
    assert previous_champion(history, champion) == expected


def test_what_was_judged_against_another_champion_is_not_promoted(registry: ModelRegistry) -> None:
    registry.write(entry("promoted", "1", None))
    with pytest.raises(JobError, match="was none and is version 1 now: another was faster"):
        registry.write(entry("promoted", "2", None))
    assert (registry.aliased(CHAMPION), registry.aliased(CANDIDATE)) == ("1", "2")
    assert decisions(registry) == [("promoted", "1")]
    assert locks(registry) == []


def test_who_is_late_with_the_same_version_leaves_no_champion_as_candidate(registry: ModelRegistry) -> None:
    """Both were judged when there was no champion; the late one names its version again as the candidate."""
    registry.write(entry("promoted", "2", None))
    registry.set_candidate("2")
    with pytest.raises(JobError, match="another was faster"):
        registry.write(entry("promoted", "2", None))
    assert (registry.aliased(CHAMPION), registry.aliased(CANDIDATE)) == ("2", None)


@pytest.mark.parametrize("jump", [7200, -7200])
def test_a_clock_that_is_set_makes_no_lock_of_a_living_process_old(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, "set_registered_model_alias", after=True)
        registry.write(entry("promoted", "2", None))
    now = time.time
    monkeypatch.setattr(promotion_lock.time, "time", lambda: now() + jump)
    assert [lock.is_stale() for lock in registry.unsettled()] == [False]
    monkeypatch.setattr(promotion_lock, "STALE_SECONDS", 0.0)  # this process lives, but had its time
    assert [lock.is_stale() for lock in registry.unsettled()] == [True]


def test_of_promotions_at_the_same_time_one_wins_and_the_others_say_so(registry: ModelRegistry) -> None:
    """Three versions, two callers each, all judged when there was no champion."""
    start, won, lost = Barrier(6), list[str](), list[str]()

    def promote(version: str) -> None:
        own = ModelRegistry(mlflow.MlflowClient(), registry.name)
        start.wait()
        try:
            own.write(entry("promoted", version, None))
            won.append(version)
        except Exception as error:  # any other than a JobError is shown by the assertion below
            lost.append(f"{type(error).__name__}: {error}")

    threads = [Thread(target=promote, args=(version,)) for version in "112233"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line for line in lost if "another was faster" not in line] == []
    (winner,) = won
    assert len(lost) == 5
    assert registry.aliased(CHAMPION) == winner
    assert decisions(registry) == [("promoted", winner)]
    assert locks(registry) == []


def test_decisions_at_the_same_time_are_all_in_the_history(registry: ModelRegistry) -> None:
    threads = [
        Thread(
            target=ModelRegistry(mlflow.MlflowClient(), registry.name).write, args=(entry("refused", version, None),)
        )
        for version in "123"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(decisions(registry)) == [("refused", version) for version in "123"]


def test_a_promotion_that_is_overtaken_once_its_entry_is_there_has_won(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told to have taken too long, although its version was champion."""
    own = ModelRegistry(mlflow.MlflowClient(), registry.name)
    real = own.client.set_registered_model_tag

    def then_another(name: str, key: str, value: str) -> None:
        real(name, key, value)
        if key == "promotion.0001":
            registry.write(entry("refused", "2", "1"))

    monkeypatch.setattr(own.client, "set_registered_model_tag", then_another)
    own.write(entry("promoted", "1", None))
    assert decisions(registry) == described(registry) == [("promoted", "1"), ("refused", "2")]
    assert (registry.aliased(CHAMPION), locks(registry)) == ("1", [])


def die_at(monkeypatch: pytest.MonkeyPatch, registry: ModelRegistry, method: str, after: bool, which: int = 1) -> None:
    """Let the process end before or after the n-th call of a method of the client."""
    real, calls = getattr(registry.client, method), 0

    def dies(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = real(*arguments, **options) if calls != which or after else None
        if calls == which:
            raise Died
        return result

    monkeypatch.setattr(registry.client, method, dies)


POINTS: dict[str, tuple[str, bool, int, str]] = {
    "before the lock": ("create_registered_model", False, 1, "nothing"),
    "after the lock": ("create_registered_model", True, 1, "undone"),
    "before it says that the alias moves": ("set_registered_model_tag", False, 1, "undone"),
    "before the alias": ("set_registered_model_alias", False, 1, "undone"),
    "after the alias": ("set_registered_model_alias", True, 1, "promoted"),
    "after the candidate's alias": ("delete_registered_model_alias", True, 1, "promoted"),
    "before the version's tag": ("set_model_version_tag", False, 1, "promoted"),
    "after the version's tag": ("set_model_version_tag", True, 1, "promoted"),
    "before the entry": ("set_registered_model_tag", False, 2, "promoted"),
    "after the entry": ("set_registered_model_tag", True, 2, "promoted"),
    "before the description": ("update_registered_model", False, 1, "promoted"),
    "after the description": ("update_registered_model", True, 1, "promoted"),
    "before the lock's removal": ("delete_registered_model", False, 1, "promoted"),
    "after the lock's removal": ("delete_registered_model", True, 1, "promoted"),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_promotion_that_died_is_finished_or_undone_by_the_next(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    method, after, which, outcome = POINTS[point]
    registry.write(entry("promoted", "1", None))
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, method, after, which)
        registry.write(entry("promoted", "2", "1"))
    monkeypatch.setattr(promotion_lock.Owner, "is_gone", lambda self: True)
    registry.settle("the next")
    then = {"nothing": [], "undone": [("undone", "2")], "promoted": [("promoted", "2")]}[outcome]
    champion = "2" if outcome == "promoted" else "1"
    assert registry.aliased(CHAMPION) == champion
    assert registry.aliased(CANDIDATE) == (None if outcome == "promoted" else "2")
    assert decisions(registry) == [("promoted", "1"), *then]
    assert tag(registry, "2") == {"nothing": None}.get(outcome, outcome)
    registry.write(entry("promoted", "3", champion))
    assert decisions(registry) == [("promoted", "1"), *then, ("promoted", "3")]
    assert described(registry) == decisions(registry)
    assert registry.unsettled() == []
    assert locks(registry) == []


@pytest.mark.parametrize("method", ["set_registered_model_alias", "set_registered_model_tag"])
def test_a_rollback_and_a_refusal_that_died_are_settled_too(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    for version, champion in (("1", None), ("3", "1")):
        registry.write(entry("promoted", version, champion))
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, method, after=True, which=2 if method.endswith("tag") else 1)
        registry.write(entry("rolled back", "1", "3"))
    monkeypatch.setattr(promotion_lock.Owner, "is_gone", lambda self: True)
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, "set_model_version_tag", after=False, which=3 if "alias" in method else 1)
        registry.write(entry("refused", "2", "1"))
    registry.write(entry("refused", "3", "1"))
    expected = [("promoted", "1"), ("promoted", "3"), ("rolled back", "1"), ("refused", "2"), ("refused", "3")]
    assert decisions(registry) == expected
    assert (registry.aliased(CHAMPION), tag(registry, "3"), locks(registry)) == ("1", "refused", [])


@pytest.mark.parametrize("method, unsettled", [("set_registered_model_tag", [1, 2]), ("delete_registered_model", [2])])
def test_one_that_dies_while_it_settles_another_is_settled_by_the_third(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, method: str, unsettled: list[int]
) -> None:
    monkeypatch.setattr(promotion_lock.Owner, "is_gone", lambda self: True)
    for dies_in, after in (("set_registered_model_alias", True), (method, False)):
        with monkeypatch.context() as dying, pytest.raises(Died):
            die_at(dying, registry, dies_in, after)
            registry.write(entry("promoted", "2", None))
    assert [lock.number for lock in registry.unsettled()] == unsettled
    registry.write(entry("promoted", "3", "2"))
    assert decisions(registry) == [("promoted", "2"), ("undone", "2"), ("promoted", "3")]
    assert locks(registry) == []


def test_one_that_dies_while_it_only_settles_leaves_no_entry(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion_lock.Owner, "is_gone", lambda self: True)
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, "set_registered_model_alias", after=True)
        registry.write(entry("promoted", "2", None))
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, "delete_registered_model", after=True)
        registry.settle("the second")
    assert [lock.number for lock in registry.unsettled()] == [2]
    registry.write(entry("promoted", "3", "2"))
    assert decisions(registry) == [("promoted", "2"), ("promoted", "3")]
    assert locks(registry) == []


def test_a_lock_in_use_is_waited_for_and_not_taken(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dying, pytest.raises(Died):
        die_at(dying, registry, "set_registered_model_alias", after=True)
        registry.write(entry("promoted", "2", None))
    monkeypatch.setattr(promotion_lock, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(JobError, match=rf"a promotion of {registry.name} by .*@.* is running; try again"):
        registry.write(entry("promoted", "3", "2"))
    assert registry.settle("the next") == []
    assert decisions(registry) == []
    monkeypatch.setattr(promotion_lock, "STALE_SECONDS", 0.0)  # this process lives, but had its time
    registry.write(entry("promoted", "3", "2"))
    assert decisions(registry) == [("promoted", "2"), ("promoted", "3")]
    assert registry.history()[0].settled_by == registry.history()[1].by


@pytest.mark.parametrize("late", [True, False])
def test_one_that_is_overtaken_changes_nothing_more(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """It sleeps with the lock in its hands, and another comes; or its time is simply over."""
    asked, other = registry.aliased, ModelRegistry(mlflow.MlflowClient(), registry.name)

    def overtaken(alias: str) -> str | None:
        champion = asked(alias)
        if late:
            monkeypatch.setattr(promotion_lock, "LEASE_SECONDS", -1.0)
        else:
            monkeypatch.setattr(promotion_lock, "STALE_SECONDS", 0.0)
            other.write(entry("promoted", "3", None))
        return champion

    monkeypatch.setattr(registry, "aliased", overtaken)
    with pytest.raises(JobError, match=f"the promotion of {registry.name} took too long"):
        registry.write(entry("promoted", "2", None))
    expected = [] if late else [("undone", "2"), ("promoted", "3")]
    assert (other.aliased(CHAMPION), decisions(other)) == (None if late else "3", expected)


def test_a_lock_that_comes_too_late_overwrites_no_entry(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the history and its lock another decision is written, from its lock to its removal."""
    create, other = registry.client.create_registered_model, ModelRegistry(mlflow.MlflowClient(), registry.name)

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(registry.client, "create_registered_model", create)
        other.write(entry("refused", "3", None))
        return create(*arguments)

    monkeypatch.setattr(registry.client, "create_registered_model", late)
    registry.write(entry("refused", "2", None))
    assert (decisions(registry), locks(registry)) == ([("refused", "3"), ("refused", "2")], [])


def test_an_answer_lost_on_the_way_costs_no_lock(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sends a request again whose answer it did not get; the second time the name is taken, by itself."""
    create = registry.client.create_registered_model

    def twice(*arguments: Any) -> Any:
        create(*arguments)
        return create(*arguments)

    monkeypatch.setattr(registry.client, "create_registered_model", twice)
    registry.write(entry("promoted", "2", None))
    assert (registry.aliased(CHAMPION), locks(registry)) == ("2", [])


def test_a_registered_model_in_the_place_of_a_lock_is_named(registry: ModelRegistry) -> None:
    registry.client.create_registered_model(lock_name(registry.name, 1))
    with pytest.raises(JobError, match=r"detector-\w+\.promotion-0001 has the name of a lock"):
        registry.write(entry("promoted", "2", None))


def test_a_failing_registry_is_no_lost_race(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise MlflowException("disk full")

    monkeypatch.setattr(registry.client, "create_registered_model", fails)
    with pytest.raises(MlflowException, match="disk full"):
        registry.write(entry("promoted", "2", None))


def killed_behind_the_alias(registry_uri: str, name: str) -> None:
    registry = ModelRegistry(connect(registry_uri), name)
    move = registry.client.set_registered_model_alias

    def move_and_die(*arguments: str) -> None:
        move(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    registry.client.set_registered_model_alias = move_and_die
    registry.write(entry("promoted", "2", None))


def test_a_killed_process_is_noticed_at_once(registry: ModelRegistry, registry_uri: str) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=killed_behind_the_alias, args=(registry_uri, registry.name)
    )
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    held = find_lock(registry.client, registry.name, 1)
    assert held is not None
    assert (held.owner.pid, held.is_stale(), held.intent["version"]) == (process.pid, True, "2")
    (settled,) = registry.settle("the next")
    assert (settled.decision, settled.settled_by) == ("promoted", "the next")
    assert (registry.aliased(CHAMPION), registry.aliased(CANDIDATE)) == ("2", None)
    assert registry.history() == [settled]


def verdict(**gates: bool) -> dict[str, Any]:
    found = [{"name": name, "passed": passed, "says": f"{name} | 0.9"} for name, passed in gates.items()]
    return {"by": "me@here", "at": "2026-11-24T18:33:19+00:00", "passed": all(gates.values()), "gates": found}


def test_what_the_gates_found_is_kept_with_the_version(registry: ModelRegistry, tmp_path: Path) -> None:
    experiment = registry.client.create_experiment(registry.name, str(tmp_path / "artifacts"))
    run_id = registry.client.create_run(experiment).info.run_id
    number = str(registry.client.create_model_version(registry.name, "/nowhere", run_id, description="Ours.").version)
    registry.keep_verdict(number, "promotion/old.json", verdict(ap=True))
    place = registry.keep_verdict(number, "promotion/a.json", verdict(loads=True, auc=False))
    assert place == f"runs:/{run_id}/promotion/a.json"
    kept = json.loads(Path(mlflow.artifacts.download_artifacts(place, dst_path=str(tmp_path))).read_text())
    assert kept == verdict(loads=True, auc=False)
    assert registry.version(number).description.replace("&emsp;", "").splitlines() == [
        "Ours.", "", "## Gates", "", "Judged 2026-11-24 18:33 UTC by me@here: failed.", "", "| gate | result | found |",
        "| --- | --- | --- |", r"| auc | **failed** | auc \| 0.9 |", r"| loads | passed | loads \| 0.9 |",
    ]  # fmt: skip
    assert registry.version(number).tags == {}


def test_the_verdict_on_a_version_without_a_run_is_kept_in_its_description_alone(registry: ModelRegistry) -> None:
    assert registry.keep_verdict("2", "promotion/a.json", verdict(auc=True)) is None
    assert "| auc&emsp; | passed&emsp; |" in registry.version("2").description


def test_the_models_page_shows_the_latest_decisions_beside_what_stood_there(registry: ModelRegistry) -> None:
    registry.client.update_registered_model(registry.name, "Ours.")
    for number in range(20):
        registry.write(new_entry("refused", "2", None, f"reason {number} " + "a|b " * 200))
    text = registry.client.get_registered_model(registry.name).description
    assert text.startswith("Ours.\n\n## Promotions\n\n| ")
    rows = [line for line in text.splitlines() if line.startswith("| 20")]
    assert [re.findall(r"reason (\d+)", row) for row in rows] == [[str(number)] for number in range(19, 4, -1)]
    assert len(rows[0]) < 300
    assert text.endswith(f"`python workflows/promote.py {registry.name} --history`.")
    assert len(text) <= 5000
    assert len(registry.history()) == 20
