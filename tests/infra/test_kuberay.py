"""What kustomize makes of `infra/kuberay`, against the schemas of KubeRay and Kubernetes, and what it promises."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from anomalyclip.errors import UsageError
from tests.infra.closed import validate
from tests.infra.commands_of import check_command
from tests.infra.kustomized import KUBERAY, OVERLAYS, Resource, built, clusters, of_kind, pods

KUBERNETES = "1.37"
LOGIN = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL")


def check(resource: Resource) -> None:
    if resource["apiVersion"].startswith("ray.io/"):
        validate(resource)
    else:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_as_its_schema_says(overlay: str) -> None:
    for resource in built(overlay):
        if not overlay.endswith("-jobs") or resource["kind"] == "RayJob":  # the rest is that of the platform
            check(resource)


def _first(kind: str, overlay: str = "gpu-jobs") -> Resource:
    return copy.deepcopy(of_kind(built(overlay), kind)[0])


def _ray(cluster: Resource) -> Any:
    return cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]


BROKEN: list[tuple[str, Callable[[Any], object]]] = [
    ("RayCluster", lambda it: it["spec"].update(autoscaling=True)),
    ("RayCluster", lambda it: it["spec"].update(rayVersion=2.6)),
    ("RayCluster", lambda it: it["spec"]["authOptions"].update(mode="password")),
    ("RayCluster", lambda it: it["spec"]["workerGroupSpecs"][1].update(minReplica=0)),
    ("RayCluster", lambda it: _ray(it).update(volumes=[])),
    ("RayCluster", lambda it: _ray(it).pop("name")),
    ("RayJob", lambda it: it["spec"].update(ttlSecondsAfterFinish=1)),
    ("RayJob", lambda it: it["spec"].update(backoffLimit="3")),
    ("RayCronJob", lambda it: it["spec"].update(cron="0 3 * * *")),
    ("RayCronJob", lambda it: it["spec"].update(schedule=3)),
    ("Deployment", lambda it: it["spec"].update(replica=2)),
    ("Deployment", lambda it: it["spec"].update(replicas="two")),
    ("Deployment", lambda it: it["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].update(http="/ping")),
    ("NetworkPolicy", lambda it: it["spec"].update(podSelectors={})),
    ("ServiceAccount", lambda it: it.update(automountServiceAccountTokens=False)),
    ("PodDisruptionBudget", lambda it: it["spec"].update(maxUnavailable=[1])),
    ("Service", lambda it: it["spec"]["ports"][0].update(port="80")),
    ("ConfigMap", lambda it: it.update(data={"AWS_REGION": 1})),
    ("Namespace", lambda it: it["metadata"].update(label={})),
]


@pytest.mark.parametrize(("kind", "break_it"), BROKEN)
def test_a_broken_copy_is_refused(kind: str, break_it: Callable[[Any], object]) -> None:
    broken = _first(kind)
    check(broken)
    break_it(broken)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(broken)


def test_kustomize_refuses_a_broken_copy(tmp_path: Path) -> None:
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    (tmp_path / "kuberay" / "base" / "network.yaml").unlink()
    with pytest.raises(AssertionError, match=r"network\.yaml"):
        built("cpu", tmp_path / "kuberay")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_command_has_the_options_that_it_is_given(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job["spec"] for job in of_kind(built(overlay), "RayJob")]
    jobs += [job["spec"]["jobTemplate"] for job in of_kind(built(overlay), "RayCronJob")]
    served = of_kind(built(overlay), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["command"]
    for line in [*(job["entrypoint"] for job in jobs), " ".join(served)]:
        check_command(line, monkeypatch)


@pytest.mark.parametrize("line", ["anomalyclip trane", "anomalyclip train --epochs 5", "anomalyclip train --set a.b=1"])
def test_a_command_with_a_wrong_option_is_seen(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((UsageError, KeyError)):
        check_command(line, monkeypatch)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_login_is_written_down(overlay: str) -> None:
    resources = built(overlay)
    assert of_kind(resources, "Secret") == []
    named = [name for settings in of_kind(resources, "ConfigMap") for name in settings["data"]]
    named += [
        entry["name"] for pod in pods(resources) for entry in _containers(pod)[0].get("env", ()) if "value" in entry
    ]
    assert [name for name in named if LOGIN.search(name)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_runs_with_nothing_that_it_does_not_need(overlay: str) -> None:
    for pod in pods(built(overlay)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in _containers(pod):
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"] is True
            assert locked["allowPrivilegeEscalation"] is False
            assert locked["capabilities"] == {"drop": ["ALL"]}
            written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert written >= {"/tmp", "/scratch"}
            assert {"requests", "limits"} <= container["resources"].keys()
            assert re.search(r":\d", container["image"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_closed_to_the_network_first(overlay: str) -> None:
    policies = of_kind(built(overlay), "NetworkPolicy")
    deny = next(policy["spec"] for policy in policies if policy["metadata"]["name"] == "deny-all")
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & deny.keys()
    for pod in pods(built(overlay)):
        assert deny["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_autoscaler_sees_a_token_and_workers_start_from_none(overlay: str) -> None:
    for cluster in clusters(built(overlay)):
        assert cluster["authOptions"] == {"mode": "token"}
        head = cluster["headGroupSpec"]["template"]["spec"]
        mounted = [mount["name"] for container in head["containers"] for mount in container["volumeMounts"]]
        assert "kubernetes" not in mounted
        if cluster.get("enableInTreeAutoscaling"):
            assert "kubernetes" in [mount["name"] for mount in cluster["autoscalerOptions"]["volumeMounts"]]
    alone = of_kind(built(overlay), "RayCluster")[0]["spec"]
    assert "secretKeyRef" in alone["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]
    assert [group["minReplicas"] for group in alone["workerGroupSpecs"]] == [0] * (1 + overlay.startswith("gpu"))


@pytest.mark.parametrize("overlay", ["cpu-jobs", "gpu-jobs"])
def test_a_job_starts_again_and_is_cleared_away(overlay: str) -> None:
    jobs = of_kind(built(overlay), "RayJob")
    assert [job["metadata"]["labels"]["job"] for job in jobs] == ["extract", "promote", "search", "train"]
    for job in jobs:
        spec = job["spec"]
        assert spec["backoffLimit"] == 3
        assert spec["ttlSecondsAfterFinished"] > 0
        assert spec["shutdownAfterJobFinishes"] is True
        assert "gcsFaultToleranceOptions" not in spec["rayClusterSpec"]


def test_gpus_are_asked_for_by_their_group_alone() -> None:
    for cluster in clusters(of_kind(built("gpu-jobs"), "RayJob")):
        cpu, gpu = (_containers(group["template"])[0]["resources"]["limits"] for group in cluster["workerGroupSpecs"])
        assert "nvidia.com/gpu" not in cpu
        assert gpu["nvidia.com/gpu"] == 1


def _containers(pod: Resource) -> list[Resource]:
    return list(pod["spec"]["containers"])
