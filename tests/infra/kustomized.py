"""What kustomize makes of the folders of `infra/kuberay`."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.infra.programs import INFRA, program

KUBERAY = INFRA / "kuberay"
OVERLAYS = ("cpu", "gpu", "cpu-jobs", "gpu-jobs")
Resource = dict[str, Any]


@cache
def built(overlay: str, kuberay: Path = KUBERAY) -> list[Resource]:
    """Return the objects of an overlay."""
    command = [program("kubectl"), "kustomize", str(kuberay / overlay)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    """Return the objects of a kind."""
    return [resource for resource in resources if resource["kind"] == kind]


def clusters(resources: list[Resource]) -> list[Resource]:
    """Return the specifications of all Ray clusters, those of jobs too."""
    alone = [resource["spec"] for resource in of_kind(resources, "RayCluster")]
    jobs = [resource["spec"]["rayClusterSpec"] for resource in of_kind(resources, "RayJob")]
    timed = [resource["spec"]["jobTemplate"]["rayClusterSpec"] for resource in of_kind(resources, "RayCronJob")]
    return alone + jobs + timed


def pods(resources: list[Resource]) -> list[Resource]:
    """Return the templates of all pods."""
    ray = [
        group["template"]
        for cluster in clusters(resources)
        for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    ]
    return ray + [resource["spec"]["template"] for resource in of_kind(resources, "Deployment")]
