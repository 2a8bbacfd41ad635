from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from anomalyclip.errors import UsageError
from anomalyclip.tracking.nested import FAILURE, STOPPED_EARLY, end_nested, end_orphans, open_nested
from anomalyclip.tracking.runs import DESCRIPTION, TrackedRun

OpenRun = Callable[..., AbstractContextManager[TrackedRun]]


def test_a_nested_run_says_what_it_is_made_from_as_the_one_above_does(open_run: OpenRun, tmp_path: Path) -> None:
    with open_run() as parent:
        parent.log_tags({**dict.fromkeys(DESCRIPTION, "x"), "of its own": "y"})
        parent.log_dataset(tmp_path / "m.csv", "yard", "ab" * 32, "training")
        nested = open_nested(parent, "trial")
        again = open_nested(parent, "trial", nested.run_id)
        end_nested(again, "FINISHED")
    run = parent.client.get_run(nested.run_id)
    assert (again.run_id, run.info.status, run.info.run_name) == (nested.run_id, "FINISHED", "trial")
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert {key: run.data.tags.get(key) for key in DESCRIPTION} == dict.fromkeys(DESCRIPTION, "x")
    assert "of its own" not in run.data.tags
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.tags[0].value) == ("yard", "training")


def test_a_nested_run_that_is_gone_is_refused(open_run: OpenRun) -> None:
    with open_run() as parent, pytest.raises(UsageError, match="run trial cannot be opened in MLflow"):
        open_nested(parent, "trial", "0" * 32)


def test_a_nested_run_that_is_opened_again_forgets_how_it_ended(open_run: OpenRun) -> None:
    with open_run() as parent:
        nested = open_nested(parent, "trial")
        nested.log_tags({FAILURE: "out of memory", STOPPED_EARLY: "3", "mine": "kept"})
        end_nested(nested, "FAILED")
        open_nested(parent, "trial", nested.run_id)
        run = parent.client.get_run(nested.run_id)
        assert run.info.status == "RUNNING"
        assert not {FAILURE, STOPPED_EARLY} & run.data.tags.keys()
        assert run.data.tags["mine"] == "kept"


def test_runs_that_a_killed_process_left_open_are_ended_and_no_others(open_run: OpenRun) -> None:
    with open_run() as parent:
        finished, stray = open_nested(parent, "finished"), open_nested(parent, "stray")
        end_nested(finished, "FINISHED")
        end_orphans(parent)
        states = [parent.client.get_run(run.run_id).info.status for run in (finished, stray, parent)]
        assert states == ["FINISHED", "KILLED", "RUNNING"]
