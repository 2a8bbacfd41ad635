import os
import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from anomalyclip.data.decoder import Decoder
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.part_extraction import PartDone, PartTask, cut_source, extract_part, may_have_parts
from anomalyclip.features.store import FeatureStore
from anomalyclip.features.video_copies import VideoCopies
from anomalyclip.storage import Storage, scratch
from tests.features.test_long_videos import FRAMES, PARTS, WHOLE, Encoder, extract, file_digest, parts_of
from tests.long_footage import REFRESH, draw_long


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(timeout=20)
    yield decoder
    decoder.close()


def do(task: PartTask, storage: Storage, decoder: Decoder) -> tuple[PartDone, ExtractionResult | None]:
    return extract_part(task, Encoder(), FeatureStore(storage, "parts"), PARTS, decoder, VideoCopies())


def cut(video: Path, storage: Storage, decoder: Decoder) -> list[PartTask]:
    return cut_source(str(video), FeatureStore(storage, "parts"), PARTS, decoder)


def test_parts_in_any_order_give_the_result_of_one_pass_with_the_last_one(
    storage: Storage, decoder: Decoder, tmp_path: Path
) -> None:
    video = draw_long(tmp_path / "a.mp4", FRAMES)
    tasks = cut(video, storage, decoder)
    random.Random(1).shuffle(tasks)

    outcomes = [do(task, storage, decoder) for task in [tasks[0], *tasks]]

    assert [part.frames for part, _ in outcomes] == [
        min(208, FRAMES - 208 * task.number) for task in [tasks[0], *tasks]
    ]
    assert [part.encoded > 0 for part, _ in outcomes] == [True, False, True, True, True]
    assert {part.total for part, _ in outcomes} == {FRAMES}
    results = [result for _, result in outcomes]
    assert results[:-1] == [None] * 4
    whole = extract(video, storage, decoder, WHOLE, "whole")
    assert results[-1] is not None
    assert file_digest(storage, results[-1], "parts") == file_digest(storage, whole, "whole")
    assert parts_of(storage) == []
    assert do(tasks[0], storage, decoder)[1] is None  # begun again, by a worker that died behind it


@pytest.mark.parametrize("name", ["refresh.mp4", "changed.mp4", "gone.mp4"])
def test_a_video_whose_parts_fail_is_left_to_be_extracted_as_a_whole(
    name: str, storage: Storage, decoder: Decoder, tmp_path: Path
) -> None:
    video = draw_long(tmp_path / name, FRAMES, options=REFRESH if name == "refresh.mp4" else {})
    tasks = cut(video, storage, decoder)
    if name == "changed.mp4":
        os.utime(video, (1, 1))
    elif name == "gone.mp4":
        video.unlink()

    assert len(tasks) == 4
    assert [do(task, storage, decoder)[1] for task in tasks] == [None] * 4
    if name == "gone.mp4":
        assert (extract(video, storage, decoder).error or "").endswith("no such file")
        return
    whole, left = extract(video, storage, decoder, WHOLE, "whole"), extract(video, storage, decoder)
    assert file_digest(storage, left, "parts") == file_digest(storage, whole, "whole")
    assert parts_of(storage) == []


def test_what_is_short_unreadable_or_not_there_has_no_parts(storage: Storage, decoder: Decoder, tmp_path: Path) -> None:
    short, bad = draw_long(tmp_path / "short.mp4", 100), tmp_path / "bad.mp4"
    bad.write_bytes(b"x" * 10_000)
    assert [cut(video, storage, decoder) for video in (short, bad, tmp_path / "no.mp4")] == [[]] * 3
    assert storage.files() == []


def test_videos_that_may_be_long_are_found_without_being_opened() -> None:
    rows = [
        ("a", 10**9, 101), ("b", 10**9 + 1, 100), ("c", 10**5, None), ("d", 10**3, None), ("s3://e", 10**5 + 1, None),
        ("s3://f", 10**6, None), ("twin", 10**7, None), ("other", 10**7, None),
    ]  # fmt: skip
    missing = pl.DataFrame(rows, {"video": pl.String(), "size": pl.Int64(), "frames": pl.Int64()}, orient="row")
    assert may_have_parts(missing, PARTS) == {"a", "c", "s3://f"}


def test_a_copy_serves_all_parts_of_a_video_and_goes_when_another_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetched: list[str] = []

    def fetch(source: str, folder: Path) -> Path:
        fetched.append(source)
        (folder / "a.mp4").touch()
        return folder / "a.mp4"

    monkeypatch.setattr("anomalyclip.features.video_copies.fetch", fetch)
    copies = VideoCopies()
    with copies.local("s3://x/a.mp4", (1, 1)) as first, copies.local("s3://x/a.mp4", (1, 1)) as again:
        assert first == again
        with copies.local("s3://x/b.mp4", (1, 1)) as other:
            assert first.exists() and other.is_relative_to(scratch())
    with copies.local("s3://x/c.mp4", (1, 1)):
        assert not first.exists() and not other.exists()
    with copies.local("/local/d.mp4", (1, 1)) as own:
        assert own == Path("/local/d.mp4")
    assert fetched == [f"s3://x/{name}.mp4" for name in "abc"]
