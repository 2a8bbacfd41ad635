"""The library part of `workflows/score.py`, in this process alone: scoring never starts Ray for a few clips."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from anomalyclip import cluster
from anomalyclip.config import EventsConfig, RunConfig
from anomalyclip.data import video
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest import load_manifest, manifest_digest, write_manifest
from anomalyclip.data.schema import SCHEMA
from anomalyclip.data.video import DecoderKilledError
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation import score_cache
from anomalyclip.evaluation.predictions_file import read_predictions
from anomalyclip.evaluation.scoring import bundle_scorer, score_manifest, with_frame_counts
from anomalyclip.events.alarms import AlarmTable, save_alarms
from anomalyclip.events.detection import find_events
from anomalyclip.events.event import EVENTS
from anomalyclip.features import local_extraction
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.imported import ImportedFeatures, save_import
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.job import Job
from anomalyclip.jobs.operating import Asked
from anomalyclip.jobs.scored_media import Wanted
from anomalyclip.jobs.scoring import ScoringResult, prepare, run
from anomalyclip.settings import build_config
from anomalyclip.storage import Storage
from tests.registered import write_bundle

DrawVideo = Callable[..., Path]
NOTHING = Wanted(report=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a table of false alarms: one in an hour at 0.6, ten at 0.5."""
    folder = write_bundle(tmp_path_factory.mktemp("model"), 0)
    table = AlarmTable(
        events=EventsConfig(), videos=4, hours=1.0, held_out=True, thresholds=(0.9, 0.6, 0.5), alarms=(0, 1, 10)
    )
    save_alarms(folder, table)
    return folder


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "connect", None)


@pytest.fixture(autouse=True)
def _without_decoding_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos are opened in the decoder's process, also for reports, clips and copies."""
    monkeypatch.setattr(video, "open_video", lambda path: pytest.fail(f"{path} was opened in this process"))


@pytest.fixture
def footage(tmp_path: Path, draw_video: DrawVideo) -> Path:
    """A folder of two clips, one of them in a folder of its own."""
    (tmp_path / "footage" / "inner").mkdir(parents=True)
    draw_video(tmp_path / "footage" / "a.mp4", num_frames=60)
    draw_video(tmp_path / "footage" / "inner" / "b.avi", num_frames=40, seed=3)
    return tmp_path / "footage"


def new_job(storage: Storage, *overrides: str, **more: Any) -> Job:
    config = build_config(RunConfig(), None, overrides)
    uri = f"sqlite:///{storage.path('mlflow.db')}"
    return Job(storage, config, more.get("name"), more.get("fresh", False), uri, more.get("retry", False))


def score(
    job: Job, model: Path, *videos: object, output: Path | None = None, wanted: Wanted = NOTHING, **asked: float
) -> ScoringResult:
    prepared = prepare(job, str(model), [str(video) for video in videos], Asked(**asked), wanted, output)
    with closing(Decoder(timeout=20)) as decoder:
        return run(job, prepared, decoder)


def test_a_folder_gives_scores_and_events(storage: Storage, bundle: Path, footage: Path) -> None:
    result = score(new_job(storage), bundle, footage, threshold=0.01)
    table = read_predictions(Path(result.paths["predictions"]), need_truth=False)
    events = pl.read_csv(result.paths["events"])
    lines = [json.loads(line) for line in Path(result.paths["events_jsonl"]).read_text().splitlines()]
    assert (table.video_ids, np.diff(table.offsets).tolist()) == (("a", "b"), [60, 40])
    assert table.labelled is not None and not table.labelled.any() and not table.known.any()
    assert table.operating is not None and table.operating.detection == 0.01
    assert (events.columns, lines[0].keys()) == (list(EVENTS), EVENTS.keys())
    assert (result.videos, result.failed, result.events) == (2, 0, events.height)
    assert {row["video_id"] for row in lines} == {"a", "b"}
    with pytest.raises(UsageError, match="nothing is known of the truth of a, b, so there are no figures"):
        read_predictions(Path(result.paths["predictions"]))


def test_a_video_is_neither_decoded_nor_scored_again(
    storage: Storage, bundle: Path, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(new_job(storage), bundle, footage)
    monkeypatch.setattr(score_cache, "score_stored", None)
    monkeypatch.setattr(local_extraction, "extract_video", None)
    again = score(new_job(storage), bundle, footage / "inner" / "b.avi", footage / "a.mp4")
    assert again.run != first.run
    one, other = (read_predictions(Path(each.paths["predictions"]), need_truth=False) for each in (first, again))
    assert np.array_equal(one.scores, other.select([1, 0]).scores)
    assert score(new_job(storage), bundle, footage) == first


def test_videos_whose_decoder_was_killed_are_tried_again_on_request(
    storage: Storage, bundle: Path, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise DecoderKilledError("a.mp4: the decoder was killed")

    with monkeypatch.context() as short_of_memory, pytest.raises(JobError, match="2 of 2 videos could not be read"):
        short_of_memory.setattr(Decoder, "batches", killed)
        score(new_job(storage), bundle, footage)
    with pytest.raises(JobError, match="2 of 2 videos could not be read"):
        score(new_job(storage), bundle, footage)
    again = score(new_job(storage, retry=True), bundle, footage)
    assert (again.failed, "failures" in again.paths) == (0, False)


def test_of_two_scorings_of_the_same_one_is_told_who_works(storage: Storage, bundle: Path, footage: Path) -> None:
    prepared = prepare(new_job(storage), str(bundle), [str(footage)], Asked(threshold=0.5), NOTHING)
    with prepared.run.exclusive(), pytest.raises(JobError, match=rf"scores/{prepared.run.name}: .* has worked on it"):
        score(new_job(storage), bundle, footage, threshold=0.5)


def test_the_threshold_comes_from_the_models_table(
    storage: Storage, bundle: Path, footage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def thresholds(*overrides: str, **asked: float) -> tuple[float, float]:
        point = prepare(new_job(storage, *overrides), str(bundle), [str(footage)], Asked(**asked), NOTHING).point
        return point.detection, point.alert

    with caplog.at_level("INFO", "anomalyclip"):
        score(new_job(storage), bundle, footage)
    found = "1 false alarms in 1 h of normal video, so at most 4.74 per hour, which cannot vouch for 1"
    assert f"events: threshold 0.6: {found}" in caplog.text
    assert thresholds() == (0.6, 0.9)
    assert thresholds(false_alarms_per_hour=20) == (0.5, 0.9)
    assert thresholds("events.alerts_per_hour=1") == (0.6, 0.6)
    assert thresholds(threshold=0.3) == (0.3, 0.9)
    assert thresholds(threshold=0.95) == (0.95, 0.95)


def test_a_given_threshold_keeps_the_models_durations_but_for_those_asked_for(
    storage: Storage, footage: Path, tmp_path: Path
) -> None:
    model = write_bundle(tmp_path / "model", 0)
    own = EventsConfig(smoothing=2, detections_per_hour=3)
    save_alarms(model, AlarmTable(events=own, videos=1, hours=1, held_out=True, thresholds=(0.9,), alarms=(0,)))
    job = new_job(storage, "events.gap=4")
    point = prepare(job, str(model), [str(footage)], Asked(threshold=0.3), NOTHING).point
    assert point.events == EventsConfig(smoothing=2, gap=4, detections_per_hour=3)


@pytest.mark.parametrize(
    "overrides, asked, message",
    [
        (["events.gap=2"], {}, "were counted with events.gap=1, not 2: leave it, or give --threshold P"),
        ([], {"threshold": 1.5}, "--threshold 1.5 must be above 0 and below 1"),
        ([], {"false_alarms_per_hour": -1}, "--false-alarms-per-hour -1 must be above 0"),
        ([], {"false_alarms_per_hour": float("nan")}, "--false-alarms-per-hour nan must be above 0"),
    ],
)
def test_wrong_thresholds_are_refused(
    storage: Storage, bundle: Path, footage: Path, overrides: list[str], asked: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        score(new_job(storage, *overrides), bundle, footage, **asked)
    assert not storage.exists("scores")


def test_a_model_without_a_table_says_how_to_make_one(storage: Storage, footage: Path, tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "old", 0)
    with pytest.raises(UsageError, match=rf"evaluate.py {model} MANIFEST`, or give --threshold P"):
        score(new_job(storage), model, footage)


def test_results_go_to_a_folder_of_the_users(storage: Storage, bundle: Path, footage: Path, tmp_path: Path) -> None:
    result = score(new_job(storage), bundle, footage, output=tmp_path / "out")
    assert result.paths["events"] == str(tmp_path / "out" / "events.csv")
    assert (tmp_path / "out" / "predictions.parquet").is_file()
    assert storage.list(f"scores/{result.run}") == ["features.json", "result.json", "run.json"]
    (tmp_path / "out" / "_COMPLETE").unlink()
    (tmp_path / "out" / "events.csv").unlink()
    assert score(new_job(storage), bundle, footage, output=tmp_path / "out") == result
    assert (tmp_path / "out" / "events.csv").is_file()


def test_a_folder_for_results_holds_those_of_one_job(
    storage: Storage, bundle: Path, footage: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    clips = Wanted(report=False, clips=True)
    (footage / "bad.mp4").write_text("no video")
    with pytest.raises(JobError):
        score(new_job(storage), bundle, footage, output=out, wanted=clips, threshold=0.01)
    names = {path.name for path in out.iterdir()}
    assert {"clips", "failures.csv"} < names
    other = score(new_job(storage), bundle, footage / "a.mp4", output=out)
    assert not {"clips", "failures.csv"} & ({path.name for path in out.iterdir()} | other.paths.keys())
    with pytest.raises(JobError) as again:
        score(new_job(storage), bundle, footage, output=out, wanted=clips, threshold=0.01)
    assert again.value.result.paths.keys() > {"clips", "failures"}
    assert names == {path.name for path in out.iterdir()}


def test_results_are_not_written_among_other_files(storage: Storage, bundle: Path, footage: Path) -> None:
    with pytest.raises(UsageError, match="footage exists, and is not of a scoring job: give a new folder"):
        score(new_job(storage), bundle, footage, output=footage)
    with pytest.raises(UsageError, match=r"--output /proc/none/out: .* cannot be used: No such file or directory"):
        score(new_job(storage), bundle, footage, output=Path("/proc/none/out"))
    annotated = Wanted(report=False, annotate=True)
    score(new_job(storage), bundle, footage, output=footage / "out", wanted=annotated)
    with pytest.raises(UsageError, match=r"out/annotated/a.mp4 is in the folder for the results: give another"):
        score(new_job(storage), bundle, footage, output=footage / "out", wanted=annotated)


def test_videos_that_cannot_be_read_are_named_and_left_out(
    storage: Storage, bundle: Path, footage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (footage / "empty.mp4").write_bytes(b"")
    (footage / "text.mp4").write_text("not a video")
    for _ in range(2):
        caplog.clear()
        with pytest.raises(JobError, match="2 of 4 videos could not be read") as error:
            score(new_job(storage), bundle, footage)
    result = error.value.result
    assert (result.videos, result.failed) == (4, 2)
    failures = pl.read_csv(result.paths["failures"])
    assert failures["video_id"].to_list() == ["empty", "text"]
    assert read_predictions(Path(result.paths["predictions"]), need_truth=False).video_ids == ("a", "b")


def test_report_clips_copies_and_exports_are_made_of_the_events(storage: Storage, bundle: Path, footage: Path) -> None:
    wanted = Wanted(clips=True, annotate=True, exports=("activitynet", "cvat"))
    result = score(new_job(storage), bundle, footage, threshold=0.01, wanted=wanted)
    report = Path(result.paths["report"]).read_text()
    assert '"previews/a.mp4"' in report and '"previews/b.mp4"' in report  # MPEG-4, which no browser plays
    assert (Path(result.paths["report"]).parent / "previews" / "b.mp4").is_file()
    assert len(list(Path(result.paths["clips"]).iterdir())) == result.events
    assert sorted(file.name for file in Path(result.paths["annotated"]).iterdir()) == ["a.mp4", "b.mp4"]
    exports = sorted(
        file.relative_to(result.paths["exports"]).as_posix() for file in Path(result.paths["exports"]).rglob("*")
    )
    assert exports == ["activitynet.json", "cvat", "cvat/a.xml", "cvat/b.xml", "cvat/labels.json"]


@pytest.fixture
def manifest(footage: Path) -> Path:
    """The two clips as test videos, the first with an interval; and a training video that is not scored."""
    rows = [
        ("a", "a.mp4", "test", ["Arson"], [{"start": 10, "end": 29, "labels": []}], None),
        ("b", "inner/b.avi", "test", [], [], None),
        ("c", "a.mp4", "test", ["Fighting"], [], None),
    ]
    write_manifest(pl.DataFrame(rows, schema=SCHEMA, orient="row"), footage / "manifest.csv")
    return footage / "manifest.csv"


def test_scores_and_events_are_those_of_an_evaluation(
    storage: Storage, bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    result = score(new_job(storage), bundle, manifest, threshold=0.01)
    source, store = load_manifest(manifest), FeatureStore(storage, storage.list("features")[0])
    scorer = bundle_scorer(bundle, torch.device("cpu"))
    target = tmp_path / "evaluated.parquet"
    score_manifest(scorer, with_frame_counts(source, store, 1), manifest_digest(source), store, target)
    assert pl.read_parquet(target).equals(pl.read_parquet(result.paths["predictions"]))
    evaluated, scored = read_predictions(target), read_predictions(Path(result.paths["predictions"]))
    assert evaluated.digests == scored.digests
    assert scored.operating is not None
    tracks = [track for video in range(3) if (track := evaluated.track(video)) is not None]
    events = [event for track in tracks for event in find_events(track, scored.operating)]
    lines = [json.loads(line) for line in Path(result.paths["events_jsonl"]).read_text().splitlines()]
    assert lines == [event.fields() for event in events]


def test_a_manifests_truth_is_shown_in_the_report(storage: Storage, bundle: Path, manifest: Path) -> None:
    result = score(new_job(storage), bundle, manifest, threshold=0.01, wanted=Wanted())
    report = Path(result.paths["report"]).read_text()
    assert '"truth":[[0.4,1.2,"Arson"]]' in report and '"truth":[]' in report and '"truth":null' in report


def test_a_killed_job_goes_on_where_it_was(
    storage: Storage, bundle: Path, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted = list[str]()

    def killed_at_the_second(source: str, *others: Any) -> ExtractionResult:
        extracted.append(source)
        if len(extracted) == 2:
            raise KeyboardInterrupt
        return extract_video(source, *others)

    monkeypatch.setattr(local_extraction, "extract_video", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        score(new_job(storage), bundle, footage)
    score(new_job(storage), bundle, footage)
    names = [Path(source).name for source in extracted]
    assert (names[1], sorted(names)) == (names[2], sorted([*{"a.mp4", "b.avi"}, names[1]]))


def test_long_work_is_handed_to_the_workers_of_a_cluster(
    storage: Storage, bundle: Path, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectedError(Exception):
        pass

    def connect() -> None:
        raise ConnectedError

    for number in range(3):
        shutil.copy(footage / "a.mp4", footage / f"copy{number}.mp4")
    monkeypatch.setattr(cluster, "connect", connect)
    monkeypatch.setattr(local_extraction, "PATIENCE", 0)
    monkeypatch.setattr(local_extraction, "FIRST_LOOK", 0)
    with pytest.raises(ConnectedError):
        score(new_job(storage), bundle, footage)
    assert FeatureStore(storage, storage.list("features")[0]).index().height == 1  # the first one was done here


def test_imported_features_are_scored_by_a_manifest(
    storage: Storage, tmp_path: Path, manifest: Path, put_features: Callable[..., None]
) -> None:
    model = write_bundle(tmp_path / "imported", 0, features="i3d", backbone_identity=None)
    made = ImportedFeatures("i3d", dim=64, crops=1, sampling_rate=1, made_by="a test")
    save_import(storage, made)
    for name, frames in (("a.mp4", 60), ("inner/b.avi", 40)):
        features = np.random.default_rng(0).normal(size=(frames, 64)).astype(np.float16)
        put_features(FeatureStore(storage, made.fingerprint), str(manifest.parent / name), features)
    result = score(new_job(storage, "data.features=i3d"), model, manifest, threshold=0.01)
    assert (result.videos, result.failed) == (3, 0)


def test_events_have_the_time_of_day_that_a_manifest_tells(storage: Storage, bundle: Path, manifest: Path) -> None:
    lines = manifest.read_text().splitlines()
    times = ["started", "2026-11-22T10:00:00+01:00", "", ""]
    manifest.write_text("".join(f"{line},{time}\n" for line, time in zip(lines, times, strict=True)))
    result = score(new_job(storage), bundle, manifest, threshold=0.01)
    events = pl.read_csv(result.paths["events"])
    assert events.filter(pl.col("video_id") == "a")["clock_start"][0] == "2026-11-22T10:00:00.000+01:00"
    assert events.filter(pl.col("video_id") == "b")["clock_start"][0] is None
    manifest.write_text(manifest.read_text().replace("10:00", "11:00"))
    assert score(new_job(storage), bundle, manifest, threshold=0.01).run != result.run
