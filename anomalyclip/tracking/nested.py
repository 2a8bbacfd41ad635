"""MLflow runs nested in another one, written through the client alone, so that several may be open at once."""

from typing import Literal

from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from anomalyclip.errors import UsageError
from anomalyclip.tracking.runs import DESCRIPTION, TrackedRun
from anomalyclip.tracking.server import reason

FinalStatus = Literal["FINISHED", "FAILED", "KILLED"]
FAILURE, STOPPED_EARLY = "failure", "stopped_early"
"""Tags of runs that did not finish: the reason, and the number of epochs they had."""


def open_nested(parent: TrackedRun, name: str, run_id: str | None = None) -> TrackedRun:
    """Open a new run nested in another, or that of an earlier attempt; raises UsageError if that one is gone.

    A new one copies the tags and datasets that state what the parent was made from.
    """
    client = parent.client
    try:
        if run_id is None:
            above = client.get_run(parent.run_id)
            tags = {key: value for key, value in above.data.tags.items() if key in DESCRIPTION}
            tags[MLFLOW_PARENT_RUN_ID] = parent.run_id
            run_id = client.create_run(above.info.experiment_id, run_name=name, tags=tags).info.run_id
            client.log_inputs(run_id, above.inputs.dataset_inputs)
        else:
            for tag in client.get_run(run_id).data.tags.keys() & {FAILURE, STOPPED_EARLY}:
                client.delete_tag(run_id, tag)
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        raise UsageError(
            f"run {name} cannot be opened in MLflow ({reason(error)}); --fresh starts again from nothing"
        ) from error
    return TrackedRun(run_id, client)


def end_nested(run: TrackedRun, status: FinalStatus) -> None:
    """Put a run into its final state."""
    run.client.set_terminated(run.run_id, status)


def end_orphans(parent: TrackedRun) -> None:
    """End the nested runs that a killed process left open."""
    experiment = parent.client.get_run(parent.run_id).info.experiment_id
    below = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.run_id}' AND attributes.status = 'RUNNING'"
    for run in parent.client.search_runs([experiment], below):
        parent.client.set_terminated(run.info.run_id, "KILLED")
