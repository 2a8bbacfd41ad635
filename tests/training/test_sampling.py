import hashlib
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.config import ModelConfig, TrainingConfig
from anomalyclip.training.sampling import (
    NORMAL_LABEL,
    Bag,
    Draw,
    clip_frames,
    draw_clip,
    epoch_batches,
    offset_bound,
)

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "10_sampling.npz")
CONFIG = ModelConfig()


def bags(abnormal: int, normal: int) -> list[Bag]:
    return [Bag(f"a{i:03}", i % 3) for i in range(abnormal)] + [Bag(f"n{i:03}", NORMAL_LABEL) for i in range(normal)]


@pytest.mark.parametrize("stride", [1, 2])
def test_clips_hold_the_originals_frames(stride: int) -> None:
    config = ModelConfig(stride=stride)
    for index, length in enumerate(GOLDEN["Ts"]):
        np.random.seed(1000 + index)
        offsets = np.random.randint(0, offset_bound(length, config), size=32)
        frames = clip_frames(length, offsets, config)
        assert np.array_equal(frames.ravel(), GOLDEN[f"s{stride}_T{length}_train_frames"])


@pytest.mark.parametrize("length", [1, 5, 63, 64, 500])
@pytest.mark.parametrize("segments, frames, stride", [(4, 16, 1), (1, 32, 1), (2, 100, 1), (3, 16, 2)])
def test_segments_longer_than_their_number_are_drawn_from_videos_of_any_length(
    length: int, segments: int, frames: int, stride: int
) -> None:
    config = ModelConfig(segments=segments, frames_per_segment=frames, stride=stride, k=1)
    clip = draw_clip(Draw(Bag("v", 0), 0), length, 0, 0, config)
    assert clip.frames.shape == (segments, frames)
    assert 0 <= clip.frames.min() <= clip.frames.max() < length
    steps = np.diff(clip.frames, axis=1) % length
    assert (steps == stride % length).all()


def test_an_epoch_lasts_as_long_as_its_longer_side() -> None:
    batches = list(epoch_batches(bags(63, 175), epoch=1, config=TrainingConfig(batch_size=64)))
    assert len(batches) == 5
    assert all(len(batch.abnormal) == len(batch.normal) == 32 for batch in batches)
    assert len({draw.bag for batch in batches for draw in batch.normal}) == 5 * 32
    assert [batch.abnormal[0].pass_ for batch in batches] == [0, 1, 2, 3, 4]


def test_the_shorter_side_is_shuffled_anew_when_it_starts_again() -> None:
    batches = list(epoch_batches(bags(8, 32), epoch=0, config=TrainingConfig(batch_size=16)))
    orders = {tuple(draw.bag.video_id for draw in batch.abnormal) for batch in batches}
    assert len(orders) == len(batches) == 4


def test_a_batch_shrinks_to_the_videos_there_are() -> None:
    (batch,) = epoch_batches(bags(5, 9), epoch=0, config=TrainingConfig(batch_size=64))
    assert (len(batch.abnormal), len(batch.normal)) == (5, 9)


def test_workers_share_out_every_batch() -> None:
    (batch,) = epoch_batches(bags(8, 8), epoch=0, config=TrainingConfig(batch_size=16))
    parts = [batch.part(rank, 4) for rank in range(4)]
    assert [draw for part in parts for draw in part[:2]] == batch.abnormal
    assert [draw for part in parts for draw in part[2:]] == batch.normal


def test_a_draw_depends_on_seed_epoch_pass_and_video_alone() -> None:
    def frames(video: str = "a", pass_: int = 0, epoch: int = 3, seed: int = 1) -> tuple[int, ...]:
        return tuple(draw_clip(Draw(Bag(video, 0), pass_), 5000, epoch, seed, CONFIG).frames[:, 0])

    assert frames() == frames()
    assert len({frames(), frames(video="b"), frames(pass_=1), frames(epoch=4), frames(seed=2)}) == 5


def test_order_of_the_manifest_changes_nothing() -> None:
    config = TrainingConfig(batch_size=8)
    forwards = list(epoch_batches(bags(9, 6), 2, config))
    assert list(epoch_batches(bags(9, 6)[::-1], 2, config)) == forwards


def test_segment_dropout_keeps_three_in_ten() -> None:
    clips = [draw_clip(Draw(Bag(f"v{i}", 0), 0), 800, 0, 0, CONFIG) for i in range(300)]
    assert np.mean([clip.keep_top for clip in clips]) == pytest.approx(0.3, abs=0.02)
    assert all(np.array_equal(clip.keep_top, clip.keep_bottom) for clip in clips)


def test_unequal_dropout_draws_two_masks() -> None:
    config = ModelConfig(top_dropout=0.7, bottom_dropout=0.5)
    clip = draw_clip(Draw(Bag("v", 0), 0), 800, 0, 0, config)
    assert not np.array_equal(clip.keep_top, clip.keep_bottom)


def test_clips_are_those_from_before_there_were_crops_whatever_their_number() -> None:
    config = ModelConfig(bottom_dropout=0.5)
    for crops in (1, 5, 10):
        clip = draw_clip(Draw(Bag("v", 0), 2), 800, 3, 1, config, crops)
        content = b"".join(part.tobytes() for part in (clip.frames, clip.keep_top, clip.keep_bottom))
        assert hashlib.sha256(content).hexdigest()[:16] == "590c8b6a4f05e2d9"


def test_every_crop_is_drawn_equally_often_by_a_pure_function() -> None:
    def crop(video: str) -> int:
        return draw_clip(Draw(Bag(video, 0), 0), 800, 0, 0, CONFIG, crops=5).crop

    drawn = [crop(f"v{i}") for i in range(500)]
    assert np.bincount(drawn).tolist() == pytest.approx([100] * 5, abs=35)
    assert drawn == [crop(f"v{i}") for i in range(500)]
    assert {draw_clip(Draw(Bag(f"v{i}", 0), 0), 800, 0, 0, CONFIG).crop for i in range(20)} == {0}


@pytest.mark.parametrize("length", [1, 20, 64, 65, 200, 382, 1000])
@pytest.mark.parametrize("frames, stride", [(1, 1), (2, 1), (6, 1), (16, 1), (2, 2)])
def test_even_clips_reach_from_the_first_frame_to_the_last(length: int, frames: int, stride: int) -> None:
    config = ModelConfig(clips="even", frames_per_segment=frames, stride=stride)
    drawn = [draw_clip(Draw(Bag("v", 0), pass_), length, 0, 0, config).frames for pass_ in range(200)]
    assert min(clip.min() for clip in drawn) == 0
    assert max(clip.max() for clip in drawn) == length - 1
    assert all((np.diff(clip[:, 0]) >= 0).all() for clip in drawn if length > 2 * 32 * frames * stride)


def test_even_clips_of_a_video_that_fits_repeat_no_frame_but_where_segments_overlap() -> None:
    clip = draw_clip(Draw(Bag("v", 0), 0), 200, 0, 0, ModelConfig(clips="even", frames_per_segment=6)).frames
    assert (np.diff(clip, axis=1) == 1).all()
    assert len(np.unique(clip)) == 192
