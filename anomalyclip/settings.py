"""Settings by section and key: YAML files, `section.key=value` overrides, and values checked together."""

import difflib
import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from anomalyclip.errors import UsageError
from anomalyclip.redaction import redacted

MAX_YAML_BYTES = 2**18
"""Size of a file of settings; ours have a few kilobytes, and parsing takes a second per megabyte."""


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyConfig = TypeVar("AnyConfig", bound=Section)
"""A configuration: sections by name."""


def build_config(base: AnyConfig, file: Path | None = None, overrides: Sequence[str] = ()) -> AnyConfig:
    """Return `base` changed by a YAML file's settings, then by `section.key=value` overrides.

    Raises UsageError: for an unknown setting, with the nearest known one, or for all wrong values together.
    """
    return with_settings(base, [*_file_settings(file), *map(_parse_override, overrides)])


def with_settings(base: AnyConfig, changes: Iterable[tuple[str, str, Any]]) -> AnyConfig:
    """Return `base` with changes: each is its origin (for errors), its `section.key`, and the value.

    Raises UsageError: for an unknown setting, with the nearest known one, or for all wrong values together.
    """
    settings = base.model_dump()
    for source, dotted, value in changes:
        section, key = _resolve(dotted, settings, source)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise UsageError(f"{source}: {dotted} is too large a number")
        settings[section][key] = value
    try:
        return type(base).model_validate(settings)
    except ValidationError as error:
        raise UsageError("; ".join(map(_fault, error.errors()))) from None


def _fault(fault: Mapping[str, Any]) -> str:
    where, message = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    got = "" if fault["type"] == "value_error" else f" (got {_brief(fault['input'])})"
    return f"{where}: {message}{got}" if where else f"{message}{got}"


def _brief(value: Any) -> str:
    """Return a value for a message; YAML's aliases make one of a few bytes fill the memory when written out."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = 100
    brief.maxlevel = 2
    try:
        return brief.repr(value)[:200]
    except ValueError:  # Python writes no numbers of more than 4300 digits
        return "a number of thousands of digits"


def to_yaml(config: Section) -> str:
    """Return the whole configuration as YAML that `--config` reads back, without logins of addresses."""
    return yaml.safe_dump(redacted(config.model_dump(mode="json")), sort_keys=False)


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits (SHA-256) that identify JSON-like values and configuration sections."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def read_yaml(file: Path, source: str) -> Any:
    """Return the content of a YAML file; raises UsageError, which begins with `source`, if it cannot be read."""
    try:
        if (size := file.stat().st_size) > MAX_YAML_BYTES:
            raise UsageError(f"{source} has {size} bytes: settings have at most {MAX_YAML_BYTES}")
        return _parse_yaml(file.read_text())
    except FileNotFoundError:
        raise UsageError(f"{source} does not exist") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} is not readable YAML: {' '.join(str(error).split())}") from None


def _parse_yaml(text: str) -> Any:
    """Return the value of a YAML text; raises ValueError."""
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(error) from None
    except Exception as error:  # PyYAML raises whatever a tag such as `!!int x` leads it to
        raise ValueError(f"a value does not fit its type: {error}") from None


def _file_settings(file: Path | None) -> list[tuple[str, str, Any]]:
    if file is None:
        return []
    content = read_yaml(file, f"config file {file}")
    if not isinstance(content, Mapping) or not all(isinstance(part, Mapping) for part in content.values()):
        raise UsageError(f"config file {file}: expected sections of settings, such as `training: {{epochs: 5}}`")
    return [(str(file), f"{section}.{key}", value) for section, part in content.items() for key, value in part.items()]


def _parse_override(text: str) -> tuple[str, str, Any]:
    dotted, separator, value = text.partition("=")
    if not separator or dotted.count(".") != 1:
        raise UsageError(f"--set {text}: expected section.key=value, such as training.epochs=5")
    try:
        return "--set", dotted, _parse_yaml(value)
    except ValueError:
        raise UsageError(f"--set {text[:200]}: the value is not valid YAML") from None


def _resolve(dotted: str, settings: Mapping[str, Mapping[str, Any]], source: str) -> tuple[str, str]:
    section, _, key = dotted.partition(".")
    if section in settings and key in settings[section]:
        return section, key
    known = [f"{name}.{item}" for name, part in settings.items() for item in part]
    same_key = [name for name in known if name.endswith(f".{key or section}")]
    misplaced = same_key if section in settings else []
    nearest = misplaced or difflib.get_close_matches(dotted, known, n=1) or same_key
    hint = f"did you mean {nearest[0]}?" if nearest else f"the sections are {', '.join(settings)}"
    raise UsageError(f"{source}: unknown setting {dotted}; {hint}")
