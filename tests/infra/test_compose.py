"""compose.yaml as an implementation of the Compose specification reads it, and what it promises."""

import copy
import re
from collections.abc import Callable
from typing import Any

import mlflow.cli
import pytest
import yaml
from compose_spec import PyCompose

from tests.infra.programs import INFRA

TEXT = (INFRA / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def check(compose: Any) -> None:
    PyCompose.from_yaml(yaml.safe_dump(compose)).to_spec()


def test_the_file_is_as_the_specification_says() -> None:
    PyCompose.from_yaml(TEXT).to_spec()
    check(COMPOSE)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda it: it.update(service={}),
        lambda it: it["services"]["postgres"].update(read_onli=True),
        lambda it: it["services"]["postgres"].update(read_only="perhaps"),
        lambda it: it["services"]["postgres"].update(restart="sometimes"),
        lambda it: it["services"]["postgres"].update(cap_drop="ALL"),
        lambda it: it["services"]["postgres"].update(user=[1000]),
        lambda it: it["services"]["store"].update(ports=["a:b:c:d"]),
        lambda it: it["services"]["store"]["healthcheck"].update(retry=3),
        lambda it: it["services"]["store"]["healthcheck"].update(interval="often"),
        lambda it: it["services"]["mlflow"]["depends_on"]["postgres"].update(condition="well"),
        lambda it: it["secrets"]["s3_user"].update(path="secrets/s3_user"),
        lambda it: it["networks"]["inside"].update(internal="mostly"),
    ],
)
def test_a_broken_copy_is_refused(break_it: Callable[[Any], object]) -> None:
    broken = copy.deepcopy(COMPOSE)
    break_it(broken)
    with pytest.raises(ValueError):
        check(broken)


def test_every_name_that_a_service_uses_is_declared() -> None:
    used = {(kind, name) for service in SERVICES.values() for kind in ("secrets", "networks") for name in service[kind]}
    used |= {("volumes", mount.split(":")[0]) for service in SERVICES.values() for mount in service.get("volumes", ())}
    assert used == {(kind, name) for kind in ("secrets", "networks", "volumes") for name in COMPOSE[kind]}
    assert {name for service in SERVICES.values() for name in service.get("depends_on", ())} <= SERVICES.keys()


def test_ports_are_those_of_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_passwords_come_from_files_that_the_project_does_not_have() -> None:
    variables = {name: value for service in SERVICES.values() for name, value in service["environment"].items()}
    secret = {name: value for name, value in variables.items() if re.search("PASSWORD|SECRET|KEY|ROOT_USER", name)}
    assert len(secret) == 3
    assert [name for name, value in secret.items() if not value.startswith("/run/secrets/")] == []
    files = [INFRA / declared["file"] for declared in COMPOSE["secrets"].values()]
    assert [file for file in files if file.exists()] == []
    assert "/infra/secrets/" in (INFRA.parent / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_watched_and_locked(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":(RELEASE\.)?\d", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service or service["restart"] == "on-failure"


def test_mlflow_has_the_options_that_it_is_given() -> None:
    mlflow.cli.server.make_context("mlflow", list(SERVICES["mlflow"]["command"][2:]))


def test_the_image_is_the_one_that_kubernetes_runs() -> None:
    kustomization = yaml.safe_load((INFRA / "kuberay" / "cpu" / "kustomization.yaml").read_text())
    assert SERVICES["mlflow"]["image"] == f"anomalyclip:{kustomization['images'][0]['newTag']}"


def test_buckets_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Store:
        def list_buckets(self) -> dict[str, Any]:
            return {"Buckets": [{"Name": name} for name in ["mlflow", *made]]}

        def create_bucket(self, Bucket: str) -> None:  # noqa: N803
            made.append(Bucket)

    class Boto3:
        @staticmethod
        def client(service: str) -> Store:
            assert service == "s3"
            return Store()

    monkeypatch.setitem(__import__("sys").modules, "boto3", Boto3)
    for _ in range(2):
        exec(SERVICES["buckets"]["command"][2], {})
    assert made == ["anomalyclip"]
