"""Search spaces by name, or read from a user's YAML table: data only.

```yaml
trials: 24                     # without it, a grid: every combination
model.k: [1, 3, 5]
training.learning_rate: {low: 3.0e-5, high: 3.0e-3, log: true}
model.top_dropout + model.bottom_dropout: {low: 0.0, high: 0.9}   # the same value for both
```
"""

import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalyclip.errors import UsageError
from anomalyclip.settings import read_yaml
from anomalyclip.tuning.space import TOGETHER, Between, OneOf, Space

TRIALS = "trials"
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""Numbers that YAML 1.1 takes for words: `3e-5` has no point."""


def find_space(spaces: Mapping[str, Space], asked: str) -> Space:
    """Return the space of that name, else the one in that file; raises UsageError if there is neither."""
    if asked in spaces:
        return spaces[asked]
    path = Path(asked)
    if path.is_file() or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return read_space(path)
    raise UsageError(f"unknown space {asked}; give one of {', '.join(spaces)}, or a YAML file")


def read_space(path: Path) -> Space:
    """Read a table of settings; raises UsageError for the first row that is wrong.

    Whether the settings exist and may have these values is for `Space.check`.
    """
    source = f"space file {path}"
    content = read_yaml(path, source)
    if not isinstance(content, Mapping) or not content.keys() - {TRIALS}:
        raise UsageError(f"{source}: expected one row per setting, such as `model.k: [1, 3, 5]`")
    trials = content.get(TRIALS)
    if TRIALS in content and (not isinstance(trials, int) or isinstance(trials, bool) or trials < 1):
        raise UsageError(f"{source}: {TRIALS}: {trials} must be a whole number above 0; without it, a grid is tried")
    rows = {
        TOGETHER.join(part.strip() for part in str(name).split(TOGETHER.strip())): _row(f"{source}: {name}", values)
        for name, values in content.items()
        if name != TRIALS
    }
    return Space(rows, trials, source)


def _row(where: str, values: Any) -> OneOf | Between:
    """Return what a row may take; raises UsageError, starting with `where`, if it is neither list nor range."""
    if isinstance(values, Mapping):
        return _range(where, values)
    if not isinstance(values, list) or not values:
        raise UsageError(f"{where}: expected a list of values, or {{low: …, high: …}}; got {values}")
    choices = tuple(map(_number, values))
    if any(isinstance(each, list | Mapping) for each in choices):
        raise UsageError(f"{where}: the values of a list must be single numbers or words")
    if len({(type(each), each) for each in choices}) < len(choices):
        raise UsageError(f"{where}: a value occurs more than once")
    return OneOf(choices)


def _range(where: str, values: Mapping[Any, Any]) -> Between:
    for key in values:
        if key not in ("low", "high", "log"):
            nearest = difflib.get_close_matches(str(key), ("low", "high", "log"), n=1, cutoff=0.0)[0]
            raise UsageError(f"{where}: a range has no {key}; did you mean {nearest}?")
    low, high, log = _number(values.get("low")), _number(values.get("high")), values.get("log", False)
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
        raise UsageError(f"{where}: a range needs the numbers low and high (got {low} and {high})")
    if not isinstance(log, bool):
        raise UsageError(f"{where}: log is true or false (got {log})")
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"{where}: low={low} must be below high={high}, both finite")
    if log and low <= 0:
        raise UsageError(f"{where}: low={low} must be above 0 if log is true")
    return Between(float(low), float(high), log)


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
