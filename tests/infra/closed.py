"""KubeRay's schemas, read as Kubernetes does with `--validate=strict`: what they do not name is refused."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.infra.programs import SCHEMAS


def validate(resource: dict[str, Any]) -> None:
    """Check an object of KubeRay; raises jsonschema.ValidationError. Skips the test where the schemas are absent."""
    file = SCHEMAS / f"{resource['kind'].lower()}.v1.json"
    if not file.exists():
        pytest.skip(f"not checked: {file} with KubeRay's schemas is not here")
    _validator(file).validate(resource)


@cache
def _validator(file: Path) -> Draft202012Validator:
    return Draft202012Validator(_closed(json.loads(file.read_text())))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    names = schema.get("properties")
    if isinstance(names, dict) and "type" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
