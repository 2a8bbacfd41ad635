"""What a manifest promises: every fault at once, exact round trips, digests of content alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from anomalyclip.data.labels import frame_labels
from anomalyclip.data.manifest import (
    annotations_digest,
    check_frame_counts,
    check_manifest_head,
    load_manifest,
    manifest_digest,
    named_sources,
    write_manifest,
)
from anomalyclip.data.manifest_checks import resolve_source
from anomalyclip.data.manifest_sources import plain_sources
from anomalyclip.data.schema import SCHEMA
from anomalyclip.errors import UsageError

HEADER = "video_id,path,split,labels,anomalies,num_frames\n"
GOOD = (
    HEADER
    + "a,a.mp4,train,Fighting|Shooting,,\n"
    + "b,b.mp4,train,Normal,,120\n"
    + "c,c.mp4,test,Fighting|Riot,10-20:Fighting|Riot;30-40,50\n"
    + "d,s3://bucket/d.mp4,val,,,\n"
)


def manifest_in(folder: Path, text: str = GOOD, name: str = "manifest.csv") -> Path:
    folder.mkdir(exist_ok=True)
    for video in "abc":
        (folder / f"{video}.mp4").touch()
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def faults_of(path: Path, frame_tolerance: int = 0) -> list[str]:
    with pytest.raises(UsageError) as raised:
        load_manifest(path, frame_tolerance)
    return str(raised.value).splitlines()


def test_csv_is_read_into_the_schema_and_sources_are_absolute(tmp_path: Path) -> None:
    df = load_manifest(manifest_in(tmp_path))
    assert df.schema == pl.Schema({**SCHEMA, "source": pl.String()})
    assert df["labels"].to_list() == [["Fighting", "Shooting"], [], ["Fighting", "Riot"], []]
    assert df["anomalies"].to_list()[2] == [
        {"start": 10, "end": 20, "labels": ["Fighting", "Riot"]},
        {"start": 30, "end": 40, "labels": []},
    ]
    assert df["num_frames"].to_list() == [None, 120, 50, None]
    assert df["source"].to_list()[0] == str(tmp_path.resolve() / "a.mp4")
    assert df["source"].to_list()[3] == "s3://bucket/d.mp4"


@pytest.mark.parametrize("name", ["again.csv", "again.parquet"])
def test_round_trip_is_exact(tmp_path: Path, name: str) -> None:
    df = load_manifest(manifest_in(tmp_path))
    write_manifest(df, tmp_path / name)
    assert load_manifest(tmp_path / name).equals(df)


def test_odd_names_survive_the_round_trip(tmp_path: Path) -> None:
    video = tmp_path / 'é, "quoted" 100% #1.mp4'
    video.touch()
    row = ["v=_#1, x", video.name, "test", ["a car, burning", "Ünfall"], [{"start": 0, "end": 0, "labels": []}], 1]
    df = pl.DataFrame([row], schema=SCHEMA, orient="row")
    for name in ("m.csv", "m.parquet"):
        write_manifest(df, tmp_path / name)
        assert load_manifest(tmp_path / name).drop("source").equals(df)


def test_all_faults_are_reported_at_once_with_row_line_and_id(tmp_path: Path) -> None:
    rows = [
        "a,a.mp4,train,Fighting,,",
        "a,a.mp4,train,,,",
        "../x,a.mp4,train,,,",
        "sp,a.mp4,trian,,,",
        "order,c.mp4,test,Fighting,9-3,",
        "neg,c.mp4,test,Fighting,-2-3,",
        "past,c.mp4,test,Fighting,5-50,50",
        "bad,c.mp4,test,Fighting,5..9,",
        "norm,c.mp4,test,,5-9,",
        "other,c.mp4,test,Fighting,5-9:Riot,",
        "leak,a.mp4,train,Fighting,5-9,",
        "gone,nowhere.mp4,train,,,",
        "up,../a.mp4,train,,,",
        "frames,a.mp4,train,,,many",
        "zero,a.mp4,train,,,0",
        "mixed,a.mp4,train,Normal|Riot,,",
    ]
    lines = faults_of(manifest_in(tmp_path, HEADER + "\n".join(rows) + "\n"))
    expected = [
        ("row 2 (line 3), video 'a'", "already that of row 1"),
        ("row 3 (line 4), video '../x'", "not safe"),
        ("row 4 (line 5), video 'sp'", "did you mean 'train'"),
        ("row 5 (line 6), video 'order'", "starts after its end"),
        ("row 6 (line 7), video 'neg'", "negative"),
        ("row 7 (line 8), video 'past'", "past the last frame, 49"),
        ("row 8 (line 9), video 'bad'", "cannot read interval '5..9'"),
        ("row 9 (line 10), video 'norm'", "Normal video"),
        ("row 10 (line 11), video 'other'", "'Riot' is not among"),
        ("row 11 (line 12), video 'leak'", "test videos only"),
        ("row 12 (line 13), video 'gone'", "missing"),
        ("row 13 (line 14), video 'up'", "leaves the manifest's folder"),
        ("row 14 (line 15), video 'frames'", "cannot read num_frames"),
        ("row 15 (line 16), video 'zero'", "at least 1"),
        ("row 16 (line 17), video 'mixed'", "beside other labels"),
    ]
    assert "15 fault(s)" in lines[0]
    assert len(lines) == 1 + len(expected)
    for line, (place, words) in zip(lines[1:], expected, strict=True):
        assert place in line and words in line


def test_wrong_columns_are_named_beside_the_rows_faults(tmp_path: Path) -> None:
    text = "video_id,path,split,lables,anomalies,num_frames\na,gone.mp4,test,Fighting,3-5,\n"
    lines = faults_of(manifest_in(tmp_path, text))
    assert [line.strip() for line in lines[1:3]] == [
        "column 'labels' is missing",
        "column 'lables' is unknown: did you mean 'labels'?",
    ]
    assert len(lines) == 4 and "missing" in lines[3]


@pytest.mark.parametrize("video_id", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b ", "a\tb", "a:b", "x" * 201])
def test_unsafe_ids_are_refused(tmp_path: Path, video_id: str) -> None:
    assert "video_id" in faults_of(manifest_in(tmp_path, HEADER + f'"{video_id}",a.mp4,train,,,\n'))[1]


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(tmp_path: Path) -> None:
    (tmp_path / "outside.mp4").touch()
    manifest = manifest_in(tmp_path / "set", HEADER + "l,link.mp4,train,,,\n")
    (manifest.parent / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    assert "leaves the manifest's folder" in faults_of(manifest)[1]
    (manifest.parent / "link.mp4").unlink()
    (manifest.parent / "link.mp4").symlink_to("a.mp4")
    assert load_manifest(manifest)["source"].to_list() == [str(manifest.parent.resolve() / "a.mp4")]


def test_absolute_paths_and_file_uris_are_allowed_but_must_exist(tmp_path: Path) -> None:
    video = tmp_path / "far away.mp4"
    video.touch()
    rows = f"x,{video},train,,,\ny,{video.as_uri()},train,,,\n"
    manifest = manifest_in(tmp_path / "set", HEADER + rows)
    assert load_manifest(manifest)["source"].to_list() == [str(video.resolve())] * 2
    video.unlink()
    assert len(faults_of(manifest)) == 3


def test_an_empty_table_or_file_is_refused(tmp_path: Path) -> None:
    assert "no rows" in faults_of(manifest_in(tmp_path, HEADER))[1]
    assert len(faults_of(manifest_in(tmp_path, ""))) == 1 + 6 + 1


def test_what_is_not_a_manifest_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"no")
    (tmp_path / "m.csv").write_bytes(HEADER.encode() + b"\xff\xfe,\n")
    for name in ("m.parquet", "m.csv", "m.txt", "none.csv"):
        assert name in faults_of(tmp_path / name)[0]


def test_a_folder_that_may_not_be_entered_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UsageError, match=r"^manifest /videos/manifest.csv cannot be read .*Permission denied.*$"):
        load_manifest("/videos/manifest.csv")


def test_parquet_types_are_checked_with_everything_else(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "video_id": ["a"],
            "path": ["gone.mp4"],
            "split": ["train"],
            "labels": ["Riot"],
            "anomalies": [None],
            "num_frames": ["x"],
        }
    ).write_parquet(tmp_path / "m.parquet")
    text = "\n".join(faults_of(tmp_path / "m.parquet"))
    assert "column 'labels' has type String" in text
    assert "'num_frames' has type String" in text and "row 1, video 'a'" in text


def test_parquet_nulls_are_empty_lists_and_open_intervals_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    (tmp_path / "a.mp4").touch()
    row: list[object] = ["a", "a.mp4", "test", None, None, None]
    pl.DataFrame([row], schema=SCHEMA, orient="row").write_parquet(path)
    assert load_manifest(path).row(0)[3:5] == ([], [])
    for open_interval in ({"start": 3, "end": None}, {"start": None, "end": 3}):
        row[3:5] = [["Riot"], [open_interval | {"labels": None}]]
        pl.DataFrame([row], schema=SCHEMA, orient="row").write_parquet(path)
        assert "no start or no end" in faults_of(path)[1]


def whole(cell: str, folder: Path, num_frames: str = "") -> pl.DataFrame:
    return load_manifest(manifest_in(folder, HEADER + f"c,c.mp4,test,Fighting|Riot,{cell},{num_frames}\n"))


@pytest.mark.parametrize(
    ("cell", "labels"), [("all", []), (" ALL : Riot ", ["Riot"]), ("all:Riot|Fighting", ["Riot", "Fighting"])]
)
def test_all_is_the_whole_video_and_survives_the_round_trip(tmp_path: Path, cell: str, labels: list[str]) -> None:
    for num_frames in ("", "50"):
        df = whole(cell, tmp_path, num_frames)
        assert df["anomalies"].to_list() == [[{"start": 0, "end": None, "labels": labels}]]
        for name in ("again.csv", "again.parquet"):
            write_manifest(df, tmp_path / name)
            assert load_manifest(tmp_path / name).equals(df)
    assert ",all" in (tmp_path / "again.csv").read_text()


def test_all_ends_at_the_last_decoded_frame_whatever_the_annotated_number(tmp_path: Path) -> None:
    for num_frames in ("", "49"):
        df = check_frame_counts(whole("all:Riot;3-5", tmp_path, num_frames), {"c": 50}, {"c": 50}, frame_tolerance=1)
        assert [(i["start"], i["end"]) for i in df["anomalies"].item()] == [(0, 49), (3, 5)]
        _, truth = frame_labels(df["anomalies"].item(), ["Fighting", "Riot"], 50)
        assert truth[:, 1].all() and truth[:, 0].sum() == 3


def test_all_has_the_digest_of_the_interval_that_it_is(tmp_path: Path) -> None:
    digests = [annotations_digest(whole(cell, tmp_path, "50")) for cell in ("all", "0-49", "0-48")]
    assert digests[0] == digests[1] != digests[2]
    unknown = [annotations_digest(whole(cell, tmp_path)) for cell in ("all", "all;0-48", "0-48;all", "0-49")]
    assert len(set(unknown)) == 3 and unknown[1] == unknown[2]


def test_all_keeps_the_rules_of_intervals(tmp_path: Path) -> None:
    rows = ["a,a.mp4,train,Riot,all,", "b,b.mp4,test,,all,", "c,c.mp4,test,Riot,all:Arson,", "d,c.mp4,test,Riot,all-3,"]
    expected = [
        "belong to test videos only",
        "on a Normal video",
        "interval all: 'Arson' is not among",
        "all for the whole",
    ]
    lines = faults_of(manifest_in(tmp_path, HEADER + "\n".join(rows) + "\n"))[1:]
    assert len(lines) == 4 and all(words in line for line, words in zip(lines, expected, strict=True))


def test_the_same_video_in_two_splits_is_one_line_with_ten_pairs_at_most(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path, HEADER + "x,a.mp4,train,,,\ny,a.mp4,train,,,\nz,b.mp4,test,,,\n")
    assert load_manifest(manifest).height == 3
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    rows = [
        "x,a.mp4,train,,,",
        "y,b.mp4,train,,,",
        "z,link.mp4,test,,,",
        "u,s3://b/u.mp4,val,,,",
        "v,s3://b/u.mp4,test,,,",
    ]
    first, line = faults_of(manifest_in(tmp_path, HEADER + "\n".join(rows) + "\n"))
    assert first.endswith("has 1 fault(s):")
    assert line.strip() == (
        "the same video is in two splits: 'x' (train) and 'z' (test), 'u' (val) and 'v' (test): keep one of each pair"
    )
    rows = [f"{split}{i},s3://b/{i}.mp4,{split},,," for split in ("train", "test") for i in range(12)]
    (line,) = faults_of(manifest_in(tmp_path, HEADER + "\n".join(rows) + "\n"))[1:]
    assert line.count(" and ") == 10 and "…" in line


def test_the_head_of_a_manifest_is_refused_with_the_words_of_the_whole(tmp_path: Path) -> None:
    bad = HEADER.replace("labels", "lables") + "not,a,row\n"
    pl.DataFrame({"path": ["a.mp4"], "labels": [3]}).write_parquet(tmp_path / "bad.parquet")
    (tmp_path / "no.parquet").write_bytes(b"no")
    manifest_in(tmp_path, "", "empty.csv")
    for path in (tmp_path / "bad.parquet", tmp_path / "no.parquet", tmp_path / "empty.csv", tmp_path / "none.csv",
                 tmp_path / "m.txt", manifest_in(tmp_path, bad)):  # fmt: skip
        with pytest.raises(UsageError) as raised:
            check_manifest_head(path)
        lines = str(raised.value).splitlines()
        assert set(lines[1:]) < set(faults_of(path)) or lines == faults_of(path)
    check_manifest_head(manifest_in(tmp_path, HEADER + "rows,are,not,read\n"))
    write_manifest(load_manifest(manifest_in(tmp_path)), tmp_path / "good.parquet")
    check_manifest_head(tmp_path / "good.parquet")


def test_manifests_are_checked_without_libraries_that_take_seconds() -> None:
    code = "import sys, anomalyclip.data.manifest; print({'torch', 'ray', 'mlflow', 'av'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_frame_tolerance_that_is_asked_for_cuts_intervals(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path, HEADER + "c,c.mp4,test,Riot,10-51;50-51,50\n")
    assert len(faults_of(manifest, frame_tolerance=2)) == 2
    manifest = manifest_in(tmp_path, HEADER + "c,c.mp4,test,Riot,10-51,50\n")
    assert "past the last frame" in faults_of(manifest, frame_tolerance=1)[1]
    assert load_manifest(manifest, frame_tolerance=2)["anomalies"].to_list()[0][0]["end"] == 49


def test_digests_depend_on_content_alone(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path / "one")
    df = load_manifest(manifest)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    write_manifest(df.reverse(), tmp_path / "two" / "m.parquet")
    moved = load_manifest(tmp_path / "two" / "m.parquet")
    assert manifest_digest(moved) == manifest_digest(df)
    assert annotations_digest(moved) == annotations_digest(df)


@pytest.mark.parametrize(
    ("old", "new", "truth_changes"),
    [("a.mp4", "b.mp4", False), ("train,Fighting", "val,Fighting", False), ("10-20", "10-21", True),
     ("30-40", "30-40:Fighting", True), ("Fighting|Shooting", "Shooting|Fighting", True), (",50", ",51", True)],
)  # fmt: skip
def test_digests_change_with_what_they_cover(tmp_path: Path, old: str, new: str, truth_changes: bool) -> None:
    before = load_manifest(manifest_in(tmp_path))
    after = load_manifest(manifest_in(tmp_path, GOOD.replace(old, new, 1)))
    assert manifest_digest(before) != manifest_digest(after)
    assert (annotations_digest(before) != annotations_digest(after)) == truth_changes


def test_an_interval_without_labels_has_the_digest_of_all_labels(tmp_path: Path) -> None:
    before = load_manifest(manifest_in(tmp_path))
    after = load_manifest(manifest_in(tmp_path, GOOD.replace("30-40", "30-40:Riot|Fighting")))
    assert annotations_digest(before) == annotations_digest(after)


def test_differing_frame_counts_name_the_three_numbers_of_each_video(tmp_path: Path) -> None:
    df = load_manifest(manifest_in(tmp_path)).filter(pl.col("video_id") != "d")
    with pytest.raises(UsageError) as raised:
        check_frame_counts(df, {"a": 9, "b": 119, "c": 50}, {"a": 8, "b": 119})
    text = str(raised.value)
    assert "'a': annotations unknown, video 9, features 8" in text
    assert "'b': annotations 120, video 119, features 119" in text
    assert "'c': annotations 50, video 50, features unknown" in text


def test_intervals_must_lie_inside_the_decoded_frames(tmp_path: Path) -> None:
    df = load_manifest(manifest_in(tmp_path, HEADER + "c,c.mp4,test,Riot,10-50,\n"))
    assert check_frame_counts(df, {"c": 51}, {"c": 51})["num_frames"].to_list() == [51]
    with pytest.raises(UsageError, match="annotations unknown, video 50, features 50: interval 10-50 goes past"):
        check_frame_counts(df, {"c": 50}, {"c": 50})
    cut = check_frame_counts(df, {"c": 50}, {"c": 50}, frame_tolerance=1)
    assert cut["anomalies"].to_list()[0][0]["end"] == 49


def test_features_of_every_third_frame_are_counted_as_such(tmp_path: Path) -> None:
    df = load_manifest(manifest_in(tmp_path, HEADER + "c,c.mp4,test,,,50\n"))
    for features in (17, 16):  # with and without the incomplete last snippet
        assert check_frame_counts(df, {"c": 50}, {"c": features}, sampling_rate=3).height == 1
    for features in (18, 15):
        with pytest.raises(UsageError, match="features must be 17"):
            check_frame_counts(df, {"c": 50}, {"c": features}, sampling_rate=3)
    for features in (51, 49):
        with pytest.raises(UsageError, match="features must be 50"):
            check_frame_counts(df, {"c": 50}, {"c": features})


def test_the_videos_that_a_manifest_names_are_told_whether_they_are_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "there.mp4").write_bytes(b"")
    names = [
        "v/there.mp4",
        "v/gone.mp4",
        "/abs/gone.mp4",
        "s3://bucket/a.mp4",
        f"file://{tmp_path}/a%20b.mp4",
        "",
        "a\0b",
    ]
    (tmp_path / "m.csv").write_text("path,split\n" + "".join(f"{name},nonsense\n" for name in names))
    expected = {f"{tmp_path}/v/there.mp4", f"{tmp_path}/v/gone.mp4", "/abs/gone.mp4", "s3://bucket/a.mp4"}
    assert named_sources(tmp_path / "m.csv") == {*expected, f"{tmp_path}/a b.mp4"}
    pl.DataFrame({"path": names}).write_parquet(tmp_path / "m.parquet")
    assert named_sources(tmp_path / "m.parquet") == named_sources(tmp_path / "m.csv")


def test_a_table_without_paths_names_no_videos_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file\na.mp4\n")
    with pytest.raises(UsageError, match="has no column 'path'"):
        named_sources(tmp_path / "m.csv")


def test_a_manifest_may_say_when_its_videos_start(tmp_path: Path) -> None:
    lines = GOOD.splitlines()
    times = ["started", "2026-11-22T10:00:00+01:00", "2026-11-22 10:00:00", "", "2026-11-22T09:00:00Z"]
    text = "".join(f"{line},{time}\n" for line, time in zip(lines, times, strict=True))
    df = load_manifest(manifest_in(tmp_path, text))
    read = ["2026-11-22T10:00:00+01:00", "2026-11-22T10:00:00", None, "2026-11-22T09:00:00+00:00"]
    assert df["started"].to_list() == read
    assert manifest_digest(df) == manifest_digest(load_manifest(manifest_in(tmp_path)))
    df.drop("source").write_parquet(tmp_path / "again.parquet")
    assert load_manifest(tmp_path / "again.parquet").equals(df)
    faults = faults_of(manifest_in(tmp_path, text.replace("2026-11-22 10:00:00", "yesterday")))
    assert "cannot read started 'yesterday': write a time as 2026-11-22T10:00:00+01:00" in faults[1]


def test_a_table_of_very_many_columns_or_faults_is_refused_in_a_few_lines(tmp_path: Path) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(f"c{number}" for number in range(50_000)) + "\n")
    for read in (load_manifest, check_manifest_head):
        with pytest.raises(UsageError, match=r"has 50000 columns: it is no manifest"):
            read(wide)
    long = tmp_path / "long.csv"
    long.write_text(HEADER + "".join(f"v{number},v{number}.mp4,train,,,\n" for number in range(2000)))
    faults = faults_of(long)
    assert "has 2000 fault(s)" in faults[0] and len(faults) == 22 and faults[-1].strip() == "… and 1980 more"
    long.write_text(HEADER + ",,,,,\n" * 9000)
    assert "has at least 100" in faults_of(long)[0]


def test_a_listed_folder_says_of_each_path_what_a_look_at_the_file_says(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path / "set", HEADER)
    root, outside = manifest.parent, tmp_path / "outside.mp4"
    outside.touch()
    (root / "many").mkdir()
    for number in range(10):
        (root / "many" / f"{number}.mp4").touch()
    (root / "many" / "inside").symlink_to("1.mp4")
    (root / "many" / "away").symlink_to(outside)
    (root / "many" / "folder").mkdir()
    (root / "linked").symlink_to("many")
    (tmp_path / "beside").mkdir()
    for number in range(10):
        (tmp_path / "beside" / f"{number}.mp4").touch()
    (root / "leaving").symlink_to(tmp_path / "beside")
    names = [*(f"{number}.mp4" for number in range(10)), "inside", "away", "folder", "gone.mp4", "../a.mp4", "./1.mp4"]
    paths = [f"{folder}/{name}" for folder in ("many", "linked", "leaving", root / "many") for name in names]
    paths += ["s3://bucket/a.mp4", "s3://bucket/a%20b.mp4", "s3://other/a.mp4", "ftp://host/a.mp4", "s3://bucket/../a"]
    found = plain_sources(pl.Series(paths), root.resolve(), ["bucket"]).to_list()
    said = [resolved(path, root.resolve()) for path in paths]
    assert all(source in (None, expected) for source, expected in zip(found, said, strict=True))
    assert sum(source is not None for source in found) == 31


def resolved(path: str, root: Path) -> str | None:
    try:
        return resolve_source(path, root, ["bucket"])
    except ValueError:
        return None


def test_a_long_manifest_opens_no_file_of_a_listed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v").mkdir()
    for number in range(300):
        (tmp_path / "v" / f"{number}.mp4").touch()
    rows = "".join(
        f"{number},v/{number}.mp4,test,Riot,{number}-{number + 9},{400 if number % 2 else ''}\n"
        for number in range(300)
    )
    (tmp_path / "m.csv").write_text(HEADER + rows)
    monkeypatch.setattr("anomalyclip.data.manifest.resolve_source", lambda *_: pytest.fail("looked at a file"))
    df = load_manifest(tmp_path / "m.csv")
    assert df["source"].to_list() == [str(tmp_path.resolve() / "v" / f"{number}.mp4") for number in range(300)]
    assert df["anomalies"].to_list()[7] == [{"start": 7, "end": 16, "labels": []}]
