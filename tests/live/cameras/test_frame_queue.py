"""The queue of frames: the oldest are dropped and counted, what was taken stays as it is, and memory is bounded."""

import os
from mmap import mmap

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyclip.live.cameras.frame_queue import Batch, FrameQueue

SHAPE = (4, 6, 3)


def picture(number: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    return np.full(shape, number % 256, np.uint8)


class Taker:
    """The other process."""

    def __init__(self, queue: FrameQueue) -> None:
        self.queue = queue
        self.slots = np.empty(0, np.uint8)

    def take(self, at_most: int) -> tuple[Batch, list[NDArray[np.uint8]]]:
        batch = self.queue.take(at_most)
        if batch.memory is not None:
            self.slots = np.frombuffer(mmap(batch.memory, int(np.prod(batch.shape))), np.uint8).reshape(batch.shape)
            os.close(batch.memory)
        return batch, [self.slots[frame.slot] for frame in batch.frames]


@given(st.lists(st.integers(-12, 8), max_size=30))
def test_frames_come_in_order_or_are_counted_as_dropped_and_taken_ones_are_not_overwritten(steps: list[int]) -> None:
    queue = FrameQueue(5)
    taker, put, seen, dropped = Taker(queue), 0, list[int](), 0
    batch, frames = taker.take(1)
    for step in steps:
        for _ in range(max(0, step)):
            queue.put(picture(put), put, float(put))
            put += 1
        assert [frame[0, 0, 0] for frame in frames] == [each.number % 256 for each in batch.frames]
        if step < 0:
            batch, frames = taker.take(-step)
            assert batch.waiting <= 5
            seen += [frame.number for frame in batch.frames]
            dropped += batch.dropped
    while (last := taker.take(100)[0]).frames or last.dropped:
        seen += [frame.number for frame in last.frames]
        dropped += last.dropped
    assert seen == sorted(set(seen)) and len(seen) + dropped == put


def test_a_full_queue_keeps_the_newest() -> None:
    queue = FrameQueue(3)
    for number in range(10):
        queue.put(picture(number), number, 0.0)
    batch, _ = Taker(queue).take(10)
    assert [frame.number for frame in batch.frames] == [7, 8, 9] and (batch.dropped, batch.waiting) == (7, 0)


def test_bytes_bound_it_too() -> None:
    queue = FrameQueue(64, most_bytes=4 * 4 * 6 * 3)
    for number in range(10):
        queue.put(picture(number), number, 0.0)
    batch = queue.take(64)
    assert batch.shape[0] == 4 and len(batch.frames) == 3
    os.close(batch.memory or -1)


def test_frames_of_another_size_take_the_place_of_those_that_wait() -> None:
    queue = FrameQueue(5)
    taker = Taker(queue)
    queue.put(picture(0), 0, 0.0)
    before = taker.take(1)[1][0]
    queue.put(picture(1), 1, 0.0)
    queue.put(picture(2, (8, 2, 3)), 2, 0.0)
    batch, (after,) = taker.take(5)
    assert (before == 0).all() and after.shape == (8, 2, 3) and (after == 2).all()
    assert batch.dropped == 1
