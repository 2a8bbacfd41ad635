"""Entry: `python -m tests.benchmarks.new_classes FOLDER`; it resumes, and needs about 15 s of one core per training."""

import os
import sys
import time
from pathlib import Path

import torch


def main(folder: Path) -> None:
    """Draw, extract, train and measure below a folder; write the tables after every variant and seed."""
    os.environ["ANOMALYCLIP_SCRATCH"] = str(folder / "scratch")
    from tests.benchmarks.bench import machine
    from tests.benchmarks.new_classes import tables
    from tests.benchmarks.new_classes.scores import measured
    from tests.benchmarks.new_classes.trainings import NOTHING, bundle_of, cases, footage, train

    torch.set_num_threads(1)
    (folder / "trainings").mkdir(parents=True, exist_ok=True)
    drawn, found = footage(folder), {}
    for case in cases():
        bundle = bundle_of(folder, case)
        train(drawn, case, bundle)
        found[case] = measured(drawn, bundle, case)
        print(time.strftime("%H:%M:%S"), case.name, flush=True)
        if case.left_out == NOTHING:
            tables.write(folder, found)
    print(tables.write(folder, found))
    print(time.strftime("%Y-%m-%d"), machine())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
