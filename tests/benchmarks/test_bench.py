"""The table of `make bench`: what it says of a row, and of the run before."""

import json
import time
from pathlib import Path

from tests.benchmarks.bench import Case, keep, measured, table
from tests.benchmarks.cases import tables, training, video


def busy(seconds: float) -> None:
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass


def test_a_row_has_the_seconds_of_its_case_and_of_its_baseline() -> None:
    (row,) = measured([Case("slow", lambda: busy(0.04), "quick", lambda: busy(0.01))])
    assert row["name"] == "slow" and row["baseline"] == "quick"
    assert row["seconds"] >= 0.04 and 0.01 <= row["baseline_seconds"] < row["seconds"]


def test_a_second_run_is_compared_with_the_first(tmp_path: Path) -> None:
    rows = [{"name": name, "seconds": 1.0, "baseline": "other", "baseline_seconds": 2.0} for name in ("same", "worse")]
    assert keep(tmp_path, rows) is None
    assert "| same | 1 | other | 2 | 0.50 |  |" in table(rows, None)
    later = [rows[0], rows[1] | {"seconds": 2.0}, rows[0] | {"name": "new"}]
    before = keep(tmp_path, later)
    assert before is not None and before["rows"] == rows and {"cores", "gpu"} <= before["machine"].keys()
    lines = table(later, before).splitlines()[2:]
    assert [line.split("|")[6].strip() for line in lines] == ["1 (1.00x)", "1 (2.00x, slower)", ""]
    assert [json.loads(path.read_text())["rows"] for path in sorted(tmp_path.glob("*.json"))] == [rows, later]


def test_the_first_case_of_each_group_can_be_measured(tmp_path: Path) -> None:
    for number, group in enumerate((tables, training, video)):
        (tmp_path / str(number)).mkdir()
        case = next(group.cases(tmp_path / str(number)))
        assert case.name and case.baseline
        case.run()
