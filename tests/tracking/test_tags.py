"""Tags that hold JSON are JSON, however much there is to say."""

import json

from mlflow.utils.validation import MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH, MAX_TAG_VAL_LENGTH

from anomalyclip.tracking.tags import MOST_OF_RUN, MOST_OF_VERSION, fitting_json


def test_a_tag_that_would_be_cut_loses_its_first_entries() -> None:
    found = {f"{number} {'é' * 90}": {"auc": 0.5, "dataset": "d" * 200} for number in range(30)}
    text = fitting_json(found, MOST_OF_RUN)
    assert MOST_OF_RUN - 400 < len(text) <= MOST_OF_RUN
    kept = json.loads(text)
    assert list(kept) == list(found)[-len(kept) :] and fitting_json(kept, MOST_OF_RUN) == text


def test_the_bounds_are_those_of_mlflow() -> None:
    assert (MOST_OF_RUN, MOST_OF_VERSION) == (MAX_TAG_VAL_LENGTH, MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH)
