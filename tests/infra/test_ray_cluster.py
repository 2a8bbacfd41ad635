"""ray-cluster.yaml as Ray's own cluster launcher reads it."""

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import ray.autoscaler._private.util as launcher
import yaml
from click import ClickException

from tests.infra.programs import INFRA

CLUSTER = yaml.safe_load((INFRA / "ray-cluster.yaml").read_text())


def check(cluster: Any) -> dict[str, Any]:
    prepared: dict[str, Any] = launcher.prepare_config(copy.deepcopy(cluster))
    launcher.validate_config(prepared)
    return prepared


def test_the_launcher_accepts_the_file() -> None:
    assert check(CLUSTER)["max_workers"] == len(CLUSTER["provider"]["worker_ips"])


@pytest.mark.parametrize(
    "break_it",
    [
        lambda it: it.update(workers=2),
        lambda it: it.update(cluster_name=3),
        lambda it: it.update(idle_timeout_minutes="five"),
        lambda it: it.update(available_node_types={"head": {}}),
        lambda it: it["auth"].update(user="root"),
        lambda it: it["provider"].update(worker_ips="10.0.0.2"),
        lambda it: it["provider"].pop("head_ip"),
    ],
)
def test_a_broken_copy_is_refused(break_it: Callable[[Any], object]) -> None:
    broken = copy.deepcopy(CLUSTER)
    break_it(broken)
    with pytest.raises((jsonschema.ValidationError, ClickException)):
        check(broken)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code
@pytest.mark.parametrize("node", ["head", "worker"])
def test_ray_start_has_the_options_that_it_is_given(node: str) -> None:
    from ray.scripts.scripts import start

    command = CLUSTER[f"{node}_start_ray_commands"][-1]
    start.make_context("ray start", command.partition(" ray start ")[2].split())
    assert "RAY_AUTH_MODE=token" in command
