"""The competitors by name: the values of `model.method` beside `anomalyclip`."""

from collections.abc import Mapping

from anomalyclip.baselines.baseline import Baseline
from anomalyclip.baselines.sultani import Sultani

BASELINES: Mapping[str, type[Baseline]] = {"sultani": Sultani}
