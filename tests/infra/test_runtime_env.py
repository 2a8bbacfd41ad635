"""runtime_env.yaml as Ray reads it, and the environment of the systemd units."""

from typing import Any

import pytest
import yaml
from ray.runtime_env import RuntimeEnv

from tests.infra.programs import INFRA

ENVIRONMENT = yaml.safe_load((INFRA / "runtime_env.yaml").read_text())


def check(environment: dict[str, Any]) -> None:
    RuntimeEnv(**environment)
    unknown = environment.keys() - RuntimeEnv.known_fields  # Ray itself only warns of them
    if unknown:
        raise TypeError(f"unknown: {unknown}")


def test_ray_accepts_the_file() -> None:
    check(ENVIRONMENT)


@pytest.mark.parametrize(
    "wrong", [{"exclude": [".git"]}, {"excludes": ".git"}, {"env_vars": {"A": 1}}, {"env_vars": ["A"]}]
)
def test_a_broken_copy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        check({**ENVIRONMENT, **wrong})
