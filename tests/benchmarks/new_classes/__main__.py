"""Entry: `python -m tests.benchmarks.new_classes FOLDER`; it resumes, and writes tables of what is trained so far."""

import os
import sys
import time
from pathlib import Path

import torch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(folder: Path) -> None:
    """Draw, extract, train and measure below a folder."""
    from tests.benchmarks.new_classes.trainings import footage, train_all

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["ANOMALYCLIP_SCRATCH"] = str(folder / "scratch")
    train_all(folder, footage(folder), lambda name: print(time.strftime("%H:%M:%S"), name, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
