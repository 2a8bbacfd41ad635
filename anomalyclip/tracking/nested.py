"""MLflow runs nested in another, written through the client alone, so that several may be open at once."""

from typing import Literal

from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from anomalyclip.errors import UsageError
from anomalyclip.tracking.runs import DESCRIPTION, TrackedRun, reason


def open_nested(parent: TrackedRun, name: str, run_id: str | None = None) -> TrackedRun:
    """Open a new run below another, or that of an earlier attempt; raises UsageError where that one is gone.

    A new one says what it is made from as the other does, by tags and datasets.
    """
    client = parent.client
    try:
        if run_id is None:
            above = client.get_run(parent.run_id)
            tags = {key: value for key, value in above.data.tags.items() if key in DESCRIPTION}
            tags[MLFLOW_PARENT_RUN_ID] = parent.run_id
            run_id = client.create_run(above.info.experiment_id, run_name=name, tags=tags).info.run_id
            client.log_inputs(run_id, above.inputs.dataset_inputs)
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        raise UsageError(f"run {name} cannot be opened in MLflow ({reason(error)}); --fresh starts anew") from error
    return TrackedRun(run_id, client)


def end_nested(run: TrackedRun, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
    """Put a run into its final state."""
    run.client.set_terminated(run.run_id, status)
