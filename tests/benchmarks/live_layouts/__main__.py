"""Entry: `python -m tests.benchmarks.live_layouts FOLDER [STEP...]`; what is there already is not done again.

Steps: `val` (or `val-streams`, `val-clips`) measures the layouts on the validation cameras, by which the default was
chosen; `test` the chosen ones on the test cameras; `thresholds` counts false alarms there, with and without a table of
live scores; `cost` measures CPU.
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
    from anomalyclip.model.bundle import load_card
    from tests.benchmarks.live_layouts.cost import cost_table
    from tests.benchmarks.live_layouts.footage import footage
    from tests.benchmarks.live_layouts.settings import CHOSEN, CONSIDERED, COSTLY
    from tests.benchmarks.live_layouts.tables import Models, table
    from tests.benchmarks.live_layouts.thresholds import threshold_table
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
    for split, settings in (("val", CONSIDERED), ("test", CHOSEN)):
        for kind, streams in (("streams", drawn.streams(split)), ("clips", drawn.clips(split))):
            if split in steps or f"{split}-{kind}" in steps:
                _say(f"{split} {kind}")
                _show(folder / f"{split}-{kind}.md", table(models, settings, streams, f"{split}-{kind}"))
    if "thresholds" in steps:
        _show(folder / "thresholds.md", threshold_table(drawn, bundles))
    if "cost" in steps:
        card, dim = load_card(bundles[0]), drawn.backbone.dim
        layouts = [(each.name, each.pattern.layout(card, *each[1:])) for each in (*CHOSEN, *COSTLY)]
        _show(folder / "cost.md", cost_table(bundles[0], layouts, dim))


def _show(target: Path, text: str) -> None:
    target.write_text(text)
    print(text, flush=True)


def _say(what: str) -> None:
    print(time.strftime("%H:%M:%S"), what, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
