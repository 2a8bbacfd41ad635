"""What the blocks of an extraction promise: little work of the cluster for short videos, an even end for long ones."""

from pathlib import Path

import polars as pl

from anomalyclip.features.extraction_blocks import BLOCK_FRAMES, BLOCK_VIDEOS, BLOCKS_A_SLOT, BYTES_A_FRAME, blocks

SCHEMA = {"video": pl.String(), "size": pl.Int64(), "frames": pl.Int64()}


def missing(videos: list[tuple[str, int, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(videos, schema=SCHEMA, orient="row")


def test_every_video_is_in_one_block_and_the_largest_come_first() -> None:
    videos = [(f"s3://no/{number}", 1000 * number, None) for number in range(500)]
    found = [name for block in blocks(missing(videos), 2) for name in block]
    assert found == [name for name, _, _ in reversed(videos)]


def test_many_short_videos_are_few_blocks_and_a_long_one_is_alone() -> None:
    short = [(f"s3://no/{number}", number + 1, 20) for number in range(100_000)]
    found = list(blocks(missing([("s3://no/long", 10**9, 90_000), *short]), 4))
    assert found[0] == ["s3://no/long"]
    assert {len(block) for block in found[1:-1]} == {BLOCK_VIDEOS}
    lasting = [(name, size, BLOCK_FRAMES // 4) for name, size, _ in short]
    assert {len(block) for block in blocks(missing(lasting), 4)} == {4}


def test_frames_that_are_not_known_are_estimated_from_bytes() -> None:
    size = BYTES_A_FRAME * BLOCK_FRAMES // 2
    videos = [(f"s3://no/{number}", size + number, None) for number in range(1000)]
    assert max(len(block) for block in blocks(missing(videos), 1)) <= 2


def test_few_videos_are_spread_over_all_workers() -> None:
    videos = [(f"s3://no/{number}", number + 1, 1) for number in range(3 * 2 * BLOCKS_A_SLOT)]
    assert [len(block) for block in blocks(missing(videos), 2)] == [3] * 2 * BLOCKS_A_SLOT
    assert all(len(block) == 1 for block in blocks(missing(videos[:5]), 2))
    assert list(blocks(missing([]), 2)) == []


def test_copies_stay_together_and_absent_files_do_not(tmp_path: Path) -> None:
    names = {}
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one"), ("d", b"two")):
        (tmp_path / name).write_bytes(content)
        names[name] = str(tmp_path / name)
    videos: list[tuple[str, int, int | None]] = [(path, 3, None) for path in names.values()]
    videos += [("/absent/1", -1, None), ("/absent/2", -1, None)]
    found = list(blocks(missing(videos), 2))
    assert found == [[names["a"], names["c"]], [names["b"], names["d"]], ["/absent/1"], ["/absent/2"]]
