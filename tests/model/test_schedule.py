from pathlib import Path

import numpy as np
import pytest

from anomalyclip.model.schedule import learning_rate
from anomalyclip.presets import preset

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "11_lr_schedule.npz")


@pytest.mark.parametrize(("dataset", "key"), [("ucf-crime", "ucf"), ("xd-violence", "xd"), ("shanghaitech", "sht")])
def test_presets_follow_the_originals_learning_rate(dataset: str, key: str) -> None:
    config = preset(dataset).training
    rates = [learning_rate(epoch, config) for epoch in range(config.epochs)]
    np.testing.assert_allclose(rates, GOLDEN[key], rtol=1e-6, atol=1e-12)
