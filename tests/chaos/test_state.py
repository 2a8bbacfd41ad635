"""The comparison of two roots sees what is lost, doubled or changed."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from tests.chaos.draws import ALONE, SHARES, WANTED, draw
from tests.chaos.ledger import Ledger, Row, table
from tests.chaos.stages import STAGES
from tests.chaos.state import differences, read_state

TABLES = """
CREATE TABLE runs (run_uuid, name, status, lifecycle_stage);
CREATE TABLE metrics (run_uuid, key, step);
CREATE TABLE model_versions (name, version, status);
CREATE TABLE registered_model_aliases (name, alias, version);
CREATE TABLE logged_models (name, status, lifecycle_stage);
CREATE TABLE registered_models (name);
CREATE TABLE registered_model_tags (name, key, value);
INSERT INTO runs VALUES ('u', 'chaos', 'FINISHED', 'active');
INSERT INTO metrics VALUES ('u', 'loss', 0), ('u', 'system/cpu', 0);
INSERT INTO model_versions VALUES ('anomalyclip', 1, 'READY');
"""


def write_root(root: Path) -> Path:
    (root / "mlflow").mkdir(parents=True)
    (root / "features").mkdir()
    save_file({"w": np.ones(4, np.float32)}, root / "weights.safetensors")
    pl.DataFrame({"frame": [0, 1], "score": [0.25, 0.5]}).write_parquet(root / "features/predictions.parquet")
    tell(root, TABLES)
    return root


def tell(root: Path, statements: str) -> None:
    with closing(sqlite3.connect(root / "mlflow/mlflow.db")) as database:
        database.executescript(statements)


def weights(root: Path, factor: float) -> None:
    save_file({"w": np.full(4, factor, np.float32)}, root / "weights.safetensors")


CHANGES: dict[str, Callable[[Path], object]] = {
    "file missing": lambda root: (root / "weights.safetensors").unlink(),
    "file too many": lambda root: (root / "lock-1.json").write_text("{}"),
    "metrics too many": lambda root: tell(root, "INSERT INTO metrics VALUES ('u', 'loss', 0)"),
    "metrics missing": lambda root: tell(root, "DELETE FROM metrics"),
    "versions too many": lambda root: tell(root, "INSERT INTO model_versions VALUES ('anomalyclip', 2, 'READY')"),
    "registered too many": lambda root: tell(root, "INSERT INTO registered_models VALUES ('m.promotion-1')"),
    "runs missing": lambda root: tell(root, "UPDATE runs SET status = 'RUNNING'"),
    "w differs": lambda root: weights(root, 1.0000001),
    "score differs": lambda root: pl.DataFrame({"frame": [0, 1], "score": [0.25, 0.5001]}).write_parquet(
        root / "features/predictions.parquet"
    ),
}


@pytest.mark.parametrize("says", CHANGES)
def test_every_loss_doubling_and_change_is_seen(tmp_path: Path, says: str) -> None:
    expected = read_state(write_root(tmp_path))
    assert differences(read_state(tmp_path), expected, 0.0) == []
    CHANGES[says](tmp_path)
    assert any(says in line for line in differences(read_state(tmp_path), expected, 0.0))


def test_two_workers_may_differ_by_the_tolerance_and_no_more(tmp_path: Path) -> None:
    expected = read_state(write_root(tmp_path))
    weights(tmp_path, 1 + 5e-6)
    assert differences(read_state(tmp_path), expected, 1e-5) == []
    weights(tmp_path, 1 + 5e-5)
    assert differences(read_state(tmp_path), expected, 1e-5) != []


def test_a_file_that_nobody_reads_does_not_count(tmp_path: Path) -> None:
    expected = read_state(write_root(tmp_path))
    (tmp_path / "features/predictions.parquet.0123abcd.partial").write_bytes(b"half")
    assert differences(read_state(tmp_path), expected, 0.0) == []


def test_a_longer_draw_starts_with_the_shorter_one() -> None:
    longer = list(draw(300))
    for kills in (20, 120):
        shorter = list(draw(kills))
        assert longer[: len(shorter)] == shorter


def test_a_draw_holds_as_many_kills_as_asked_and_every_role_of_every_command_often() -> None:
    cases = list(draw(300))
    kills = Counter((case.stage, kill.role) for case in cases for kill in case.kills)
    assert 300 <= kills.total() <= 302
    assert min(kills[name, role] for name in SHARES for role in STAGES[name].roles) >= WANTED
    assert {len(case.kills) for case in cases if case.number < ALONE} == {1}


def test_kills_in_a_row_count_one_by_one_in_the_table() -> None:
    rows = [
        Row("kill", "train", "worker, driver, GCS", "kill-0099", True, [], killed=["worker", "driver"]),
        Row("kill", "train", "driver", "kill-0001", True, ["a file too many"]),
        Row("kill", "train", "driver", "kill-0002", False, []),
    ]
    assert table(rows).splitlines()[2:] == [
        "| kill | train | driver | 2 | 1 | 1 | 1 |",
        "| kill | train | worker | 1 | 1 | 1 | 0 |",
    ]


def test_what_ended_well_is_not_done_again_and_what_differed_or_came_too_late_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep(Row("kill", "train", "driver", "good", True, []))
    ledger.keep(Row("kill", "train", "driver", "bad", True, ["a file too many"]))
    ledger.keep(Row("kill", "train", "decoder", "late", False, []))
    assert ledger.get("good") is not None
    assert ledger.get("late") is None
    assert ledger.get("bad") is None
    ledger.keep(Row("kill", "train", "driver", "bad", True, []))
    assert ledger.get("bad") is not None
    assert [row.case for row in ledger.rows()] == ["bad", "good", "late"]
