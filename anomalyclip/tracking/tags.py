"""Tags of MLflow that hold JSON: never cut in the middle."""

import json
from collections.abc import Mapping
from typing import Any

MOST_OF_RUN, MOST_OF_VERSION = 8000, 100_000
"""Characters of a tag: MLflow cuts a run's after them, and refuses a version's with more."""


def fitting_json(found: Mapping[str, Any], most: int) -> str:
    """Return the JSON of a mapping, without its first entries where it would have more than so many characters."""
    entries = list(found.items())
    while len(text := json.dumps(dict(entries), ensure_ascii=False)) > most:
        entries.pop(0)
    return text
