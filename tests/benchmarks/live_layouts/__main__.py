"""Entry: `python -m tests.benchmarks.live_layouts FOLDER [test]`; what is there already is not done again.

Without `test` layouts are measured on the validation cameras, by which the default was chosen; with it, the chosen ones
on the test cameras.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(folder: Path, steps: Sequence[str]) -> None:
    """Draw, extract, train and measure below a folder."""
    from tests.benchmarks.live_layouts.footage import footage
    from tests.benchmarks.live_layouts.settings import CHOSEN, CONSIDERED
    from tests.benchmarks.live_layouts.tables import Models, table
    from tests.benchmarks.live_layouts.trainings import SEEDS, train

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["ANOMALYCLIP_SCRATCH"] = str(folder / "scratch")
    drawn = footage(folder)
    _say("drawn")
    bundles = []
    for seed in SEEDS:
        bundles.append(train(drawn, seed, folder / "models" / str(seed)))
        _say(f"trained {seed}")
    models = Models(bundles, folder / "windows")
    split, settings = ("test", CHOSEN) if "test" in steps else ("val", CONSIDERED)
    for kind, streams in (("streams", drawn.streams(split)), ("clips", drawn.clips(split))):
        _say(f"{split} {kind}")
        print(table(models, settings, streams, f"{split}-{kind}", folder / f"{split}-{kind}.md"), flush=True)


def _say(what: str) -> None:
    print(time.strftime("%H:%M:%S"), what, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
