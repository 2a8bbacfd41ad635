"""The past of a camera: what a window holds, when it moves, and which frames count."""

import numpy as np
import pytest

from anomalyclip.config import ModelConfig
from anomalyclip.live.layouts import Layout, default_layout, window_length
from anomalyclip.live.window import Due, Pushed, Window
from anomalyclip.model.bundle import ModelCard

CONFIG = ModelConfig(segments=4, frames_per_segment=5)


def pushed(start: int, stop: int) -> Pushed:
    """One number per feature: its place."""
    numbers = np.arange(start, stop)
    return Pushed(numbers.astype(np.float16)[:, None, None], numbers / 25, numbers + 100)


def windows(layout: Layout, count: int, size: int) -> list[Due]:
    window = Window(layout, crops=1, dim=1)
    due = [one for start in range(0, count, size) for one in window.push(pushed(start, min(count, start + size)))]
    last = window.finish()
    return due + ([last] if last else [])


LAYOUTS = [
    Layout(span=20, hop=5),
    Layout(span=20, hop=5, delay=7),
    Layout(span=20, hop=3, delay=10, least=9),
    Layout(span=20, hop=20),
    Layout(span=7, hop=1),
    Layout(span=40, hop=4, delay=1, least=30),
    Layout(span=400, hop=1, delay=300),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [1, 4, 20, 21, 137])
def test_each_frame_counts_once_in_order_however_frames_come(layout: Layout, count: int) -> None:
    assert layout.fault(CONFIG) is None
    whole = windows(layout, count, count)
    numbers = np.concatenate([due.numbers for due in whole])
    assert numbers.tolist() == list(range(100, 100 + count))
    for due in whole:
        values = due.features[:, 0, 0].tolist()
        assert values == list(range(int(values[0]), int(values[-1]) + 1)) and len(values) <= layout.span
        assert (due.features[due.counted, 0, 0] + 100 == due.numbers).all()
        assert np.array_equal(due.times, (due.numbers - 100) / 25)
    for size in (1, 3, 50):
        for ours, theirs in zip(windows(layout, count, size), whole, strict=True):
            assert np.array_equal(ours.features, theirs.features) and ours.counted == theirs.counted


def test_a_window_moves_every_hop_and_counts_what_has_seen_its_delay() -> None:
    due = windows(Layout(span=20, hop=5, delay=7, least=8), 22, 22)
    ends = [int(one.features[-1, 0, 0]) + 1 for one in due]
    assert ends == [10, 15, 20, 22]
    assert [one.numbers[-1] - 99 for one in due] == [3, 8, 13, 22]


def test_a_short_past_is_all_there_is() -> None:
    layout = Layout(span=40, hop=5)
    assert [len(one.features) for one in windows(layout, 60, 60)] == [5, 10, 15, 20, 25, 30, 35, 40, 40, 40, 40, 40]


def test_recent_segments_follow_each_other_and_the_others_spread_over_the_rest() -> None:
    layout = Layout(span=100, hop=5, recent=2)
    places = layout.places(100, CONFIG)
    assert places is not None and len(places) == window_length(CONFIG)
    assert places.tolist() == [0, 1, 2, 3, 4, *range(85, 90), *range(90, 100)]
    assert layout.places(20, CONFIG) is None  # a short past is a short video
    assert Layout(span=100, hop=5).places(100, CONFIG) is None


@pytest.mark.parametrize(
    "layout",
    [
        Layout(20, 5, delay=16),
        Layout(20, 5, least=21),
        Layout(20, 0),
        Layout(99, 6, delay=5, recent=2),
        Layout(99, 1, recent=4),
    ],
)
def test_a_layout_that_would_lose_frames_is_named(layout: Layout) -> None:
    assert "must" in str(layout.fault(CONFIG))


def test_a_past_goes_on_under_another_layout() -> None:
    old = Window(Layout(span=20, hop=5, delay=2), crops=1, dim=1)
    numbers = [one.numbers for one in old.push(pushed(0, 33))]
    new = Window(Layout(span=30, hop=4, delay=3), crops=1, dim=1)
    new.take_over(old)
    due = [*new.push(pushed(33, 50)), new.finish()]
    numbers += [one.numbers for one in due if one]
    assert np.concatenate(numbers).tolist() == list(range(100, 150))
    assert due[0] and due[0].features[0, 0, 0] == 13  # all that was kept


def test_memory_of_a_camera_is_fixed() -> None:
    window = Window(Layout(span=50, hop=5), crops=1, dim=1)
    sizes = {window._features.nbytes for start in range(0, 1000, 7) for _ in window.push(pushed(start, start + 7))}
    assert len(sizes) == 1


def test_the_default_is_as_long_as_the_median_training_video() -> None:
    def card(**fields: object) -> ModelCard:
        common = {"classes": ("Arson", "Normal"), "normal_index": 1, "model": ModelConfig(), "backbone_identity": "x"}
        return ModelCard.model_validate({**common, "backbone": {}, "sampling_rate": 1, **fields})

    assert default_layout(card()).span == 512
    assert default_layout(card(lengths=(1700, 9000))).span == 3 * 512
    assert default_layout(card(lengths=(100, 300))).span == 512
    small = card(model=ModelConfig(frames_per_segment=1, segments=3))
    for each in (card(), card(lengths=(1700, 9000)), small):
        assert default_layout(each).fault(each.model) is None
