"""Verdicts to a new manifest: what is added, what is refused, and that the old one stays as it is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import polars as pl
import pytest

from anomalyclip.data.manifest import load_manifest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.data.video import probe
from anomalyclip.errors import JobError, UsageError
from anomalyclip.events.verdicts import read_reviews
from tests.commands import review, train
from tests.conftest import DrawVideo
from tests.judged import save_verdicts, verdict

Later = "2026-11-27T01:00:00Z"


@pytest.fixture
def manifest(tmp_path: Path, draw_video: DrawVideo) -> Path:
    """A manifest of four drawn videos in `data/`."""
    (tmp_path / "data").mkdir()
    rows = []
    for seed, (name, split, labels) in enumerate(
        [("n", "train", []), ("f", "train", ["Fighting"]), ("v", "val", []), ("t", "test", [])]
    ):
        draw_video(tmp_path / "data" / f"{name}.mp4", num_frames=40, seed=seed)
        rows.append([name, f"{name}.mp4", split, labels, [], 40])
    write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), tmp_path / "data" / "manifest.csv")
    return tmp_path / "data" / "manifest.csv"


@pytest.fixture
def pool(tmp_path: Path, draw_video: DrawVideo) -> Path:
    """A video of 50 frames that no manifest knows."""
    (tmp_path / "pool").mkdir()
    return draw_video(tmp_path / "pool" / "cam <1>.avi".replace("<1>", "1"), num_frames=50, seed=9)


def run(manifest: Path, verdicts: Sequence[dict[str, Any]], output: str = "round2.csv", **head: Any) -> Path:
    """Review, and return the new manifest."""
    file = save_verdicts(manifest.parent / "verdicts.json", verdicts, **head)
    return Path(review([str(file), str(manifest), "--output", str(manifest.parent / output)])["manifest"])


def added(old: Path, new: Path) -> list[tuple[str, str, list[str], int | None]]:
    """Source's name, split, labels and frames of the rows that are in the new manifest only."""
    before = set(load_manifest(old)["video_id"])
    rows = load_manifest(new).filter(~pl.col("video_id").is_in(list(before)))
    return [(Path(row["source"]).name, row["split"], row["labels"], row["num_frames"]) for row in rows.to_dicts()]


def test_false_alarms_become_certain_normal_cuts_and_true_events_labelled_videos(manifest: Path, pool: Path) -> None:
    old = manifest.read_bytes()
    new = run(manifest, [
        verdict(pool, 5, 14, "false"), verdict(pool, 30, 39, "true", corrected_label="Arson"),
        verdict(pool, 45, 49, "unsure"),
    ])  # fmt: skip
    whole, cut = sorted(added(manifest, new))
    assert whole == ("cam 1.avi", "train", ["Arson"], None)  # within a minute of both ends
    assert (
        cut[1:] == ("train", [], 10) and cut[0].startswith("cam 1_5-14-") and probe(new.parent / "cuts" / cut[0]) == 10
    )
    assert manifest.read_bytes() == old
    kept = load_manifest(new).filter(pl.col("video_id").is_in(["n", "f", "v", "t"]))
    assert kept.equals(load_manifest(manifest))


def test_who_and_when_are_kept_with_every_verdict(manifest: Path, pool: Path) -> None:
    new = run(manifest, [verdict(pool, 5, 14, "false"), verdict(pool, 30, 39, "unsure")])
    false, unsure = read_reviews(new)
    assert (false.reviewer, false.model, false.decided_at.isoformat()) == (
        "Ada", "anomalyclip/3", "2026-11-26T01:00:00+00:00",
    )  # fmt: skip
    assert false.row in set(load_manifest(new)["video_id"]) and unsure.row is None


def test_the_same_verdicts_again_change_nothing(manifest: Path, pool: Path) -> None:
    verdicts = [verdict(pool, 5, 14, "false"), verdict(pool, 30, 39, "true")]
    second = run(manifest, [*verdicts, *verdicts])
    third = run(second, verdicts, "round3.csv")
    assert third.read_bytes() == second.read_bytes()
    assert read_reviews(third) == read_reviews(second)


def test_a_later_verdict_on_the_same_event_wins_in_the_next_round_too(manifest: Path, pool: Path) -> None:
    second = run(manifest, [verdict(pool, 5, 14, "false"), verdict(pool, 20, 24, "false")])
    third = run(second, [verdict(pool, 5, 14, "true", decided_at=Later)], "round3.csv", reviewer="Bob")
    names = [name for name, *_ in added(manifest, third)]
    assert sorted(name.split("-")[0] for name in names) == ["cam 1.avi", "cam 1_20"]
    assert [each.reviewer for each in read_reviews(third)] == ["Bob", "Ada"]
    fourth = run(third, [verdict(pool, 5, 14, "false")], "round4.csv")  # decided before the one that counts
    assert fourth.read_bytes() == third.read_bytes()
    fifth = run(fourth, [verdict(pool, 5, 14, "unsure", decided_at="2026-11-28T01:00:00Z")], "round5.csv")
    assert [name.split("-")[0] for name, *_ in added(manifest, fifth)] == ["cam 1_20"]


def test_rows_of_an_earlier_round_are_found_from_another_folder(
    manifest: Path, pool: Path, draw_video: DrawVideo
) -> None:
    second = run(manifest, [verdict(pool, 5, 14, "false")])
    with pytest.raises(UsageError, match=r"round3\.parquet cannot be written: there is no folder .*elsewhere"):
        run(second, [verdict(pool, 5, 14, "false")], "elsewhere/round3.parquet")
    (manifest.parent / "elsewhere").mkdir()
    other = draw_video(pool.parent / "other.avi", seed=8)
    third = run(second, [verdict(other, 5, 14, "false")], "elsewhere/round3.parquet")
    folders = {Path(source).parent for source in load_manifest(third)["source"]}
    assert folders == {manifest.parent, manifest.parent / "cuts", manifest.parent / "elsewhere" / "cuts"}


def test_test_videos_stay_out_under_any_name(manifest: Path, pool: Path) -> None:
    test = manifest.parent / "t.mp4"
    copy, link = pool.parent / "copy.mp4", pool.parent / "link.mp4"
    copy.write_bytes(test.read_bytes())
    link.symlink_to(test)
    for source in (test, copy, link):
        with pytest.raises(UsageError, match=r"is a test video, which must stay out of the training"):
            run(manifest, [verdict(source, 5, 14, "false")])
    assert not list(manifest.parent.glob("round2*")) and not (manifest.parent / "cuts").exists()


def test_a_video_of_the_manifest_keeps_its_split_and_its_row(manifest: Path) -> None:
    folder = manifest.parent
    new = run(manifest, [
        verdict(folder / "v.mp4", 5, 14, "false"), verdict(folder / "f.mp4", 5, 14, "false"),
        verdict(folder / "f.mp4", 20, 29, "true"),
    ])  # fmt: skip
    assert sorted(row[1:] for row in added(manifest, new)) == [("train", [], 10), ("val", [], 10)]
    assert [each.row for each in read_reviews(new) if each.verdict == "true"] == ["f"]
    with pytest.raises(UsageError, match=r"class Fighting, but row 'n' of the manifest says Normal: correct one"):
        run(manifest, [verdict(folder / "n.mp4", 5, 14, "true")], "other.csv")


def test_what_is_there_is_never_overwritten(manifest: Path, pool: Path) -> None:
    verdicts = [verdict(pool, 5, 14, "false")]
    new = run(manifest, verdicts)
    with pytest.raises(UsageError, match=r"round2\.csv exists, and nothing is overwritten"):
        run(manifest, verdicts)
    with pytest.raises(UsageError, match=r"manifest\.csv exists"):
        run(manifest, verdicts, "manifest.csv")
    new.unlink()
    with pytest.raises(UsageError, match=r"round2\.reviews\.jsonl exists"):
        run(manifest, verdicts)
    file = save_verdicts(manifest.parent / "verdicts.json", verdicts)
    assert review([str(file), str(manifest)])["manifest"].endswith("manifest-reviewed.csv")


def test_missing_sources_and_events_past_the_end_are_told(manifest: Path, pool: Path) -> None:
    with pytest.raises(UsageError, match=r"video 'gone': .*gone\.mp4 is missing"):
        run(manifest, [verdict(pool.parent / "gone.mp4", 5, 14, "false")])
    with pytest.raises(JobError, match=r"has 50 frames, and an event starts at 50"):
        run(manifest, [verdict(pool, 50, 54, "false")])
    (pool.parent / "text.mp4").write_text("not a video" * 99)
    with pytest.raises(JobError, match=r"video 'text' cannot be cut: .*text\.mp4: not a video"):
        run(manifest, [verdict(pool.parent / "text.mp4", 5, 14, "false")])
    with pytest.raises(UsageError, match=r"video 'a': path of scheme foo:// is not read"):
        run(manifest, [verdict("foo://store/a.mp4", 5, 14, "false")])
    assert not list(manifest.parent.glob("round2*"))


def test_nothing_is_left_where_the_manifest_cannot_be_written(
    manifest: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyclip.jobs.manifests.write_manifest", MagicMock(side_effect=OSError(28, "No space")))
    with pytest.raises(UsageError, match=r"round2\.csv cannot be written: No space"):
        run(manifest, [verdict(pool, 5, 14, "false")])
    assert not list(manifest.parent.glob("round2*"))


@pytest.mark.cluster
def test_the_next_round_trains_on_the_new_manifest(
    ray_session: None, drawn_manifest: Path, storage_root: Path, options: Sequence[str], tmp_path: Path,
    draw_video: Callable[..., Path],
) -> None:  # fmt: skip
    pool = draw_video(tmp_path / "pool.avi", num_frames=120, seed=7)
    file = save_verdicts(tmp_path / "v.json", [verdict(pool, 5, 44, "false"), verdict(pool, 60, 79, "true")])
    new = review([str(file), str(drawn_manifest), "--output", str(tmp_path / "round2.csv")])
    assert (new["rows"], new["added"]) == (24, 2)
    settings = [*options, "--set", "training.epochs=2", "--name", "round2"]
    result = train([new["manifest"], "--storage", str(storage_root), *settings])
    assert result["quarantined"] == 0 and int(result["model_version"]) >= 1
    assert json.dumps(result)
