"""The table of `make bench`: each row beside its baseline in the same run, and beside the run before."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

TURNS = 3
SLOWER = 1.25
"""Times as long as in the run before, above which a row is marked."""


class Unwaited(float):
    """CPU seconds of processes that nobody waited for, as what a case returns."""


class Case(NamedTuple):
    """Something to measure, and what it is compared with."""

    name: str
    run: Callable[[], object]
    baseline: str
    run_baseline: Callable[[], object]


def measured(cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Yield a row per case: CPU seconds of both, medians of turns taken one after the other."""
    for case in cases:
        turns = [(_seconds(case.run_baseline), _seconds(case.run)) for _ in range(TURNS)]
        baseline, own = (median(column) for column in zip(*turns, strict=True))
        yield {"name": case.name, "seconds": own, "baseline": case.baseline, "baseline_seconds": baseline}


def table(rows: Iterable[dict[str, Any]], before: dict[str, Any] | None) -> str:
    """Return rows as Markdown, with those of the run before if there is one."""
    known = {row["name"]: row["seconds"] for row in before["rows"]} if before else {}
    lines = ["| what | CPU s | baseline | CPU s | ratio | run before |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio, change = row["seconds"] / max(row["baseline_seconds"], 1e-9), ""
        if (earlier := known.get(row["name"])) is not None:
            times = row["seconds"] / max(earlier, 1e-9)
            change = f"{earlier:.3g} ({times:.2f}x{', slower' if times > SLOWER else ''})"
        lines.append(
            f"| {row['name']} | {row['seconds']:.3g} | {row['baseline']} | {row['baseline_seconds']:.3g} "
            f"| {ratio:.2f} | {change} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    import torch

    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return {"cores": cores, "gigabytes": round(gigabytes), "gpu": gpu, "load": load}


def keep(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Keep a run as a JSON file, and return the one before it."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = sorted(folder.glob("*.json"))
    before: dict[str, Any] | None = json.loads(earlier[-1].read_text()) if earlier else None
    now = datetime.now(UTC)
    content = {"date": now.isoformat(timespec="seconds"), "machine": machine(), "rows": rows}
    (folder / f"{now:%Y%m%dT%H%M%S.%f}.json").write_text(json.dumps(content, indent=2))
    return before


def _seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, those of processes that it ended, or tells of, among them."""
    started = _used()
    returned = function()
    return _used() - started + (returned if isinstance(returned, Unwaited) else 0.0)


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(folder: Path, wanted: list[str]) -> None:
    """Measure the groups of cases that are asked for, or all, print the table and keep it."""
    from tests.benchmarks.cases import ray, tables, training, video

    groups = {"video": video.cases, "ray": ray.cases, "training": training.cases, "tables": tables.cases}
    rows = []
    for name in wanted or groups:
        with TemporaryDirectory() as scratch:
            os.environ["ANOMALYCLIP_SCRATCH"] = scratch
            for row in measured(groups[name](Path(scratch))):
                print(f"{row['name']}: {row['seconds']:.3g} s", file=sys.stderr, flush=True)
                rows.append(row)
    before = keep(folder, rows)
    print(f"{machine()}\n\n{table(rows, before)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
