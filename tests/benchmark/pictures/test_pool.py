from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.benchmark.pictures import illustrations, pool
from anomalyclip.benchmark.pictures.illustrations import Picture
from anomalyclip.benchmark.pictures.pool import PicturePool, draw_pool
from anomalyclip.errors import UsageError


class Drawing:
    """A drawing function that counts."""

    def __init__(self, colour: int = 7) -> None:
        self.drawn, self.colour = 0, colour

    def __call__(self, seed: int, index: int) -> Picture:
        self.drawn += 1
        if index == 20_000:
            raise KeyboardInterrupt
        return Picture(
            np.full((8, 8, 3), (self.colour, seed, index % 250), np.uint8), f"c{index % 3}", (f"no {index}",)
        )


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("ANOMALYCLIP_SCRATCH", str(tmp_path))
    yield tmp_path


def assert_same(drawn: PicturePool, expected: list[Picture]) -> None:
    np.testing.assert_array_equal(drawn.pixels, [picture.pixels for picture in expected])
    assert drawn.concepts == [picture.concept for picture in expected]
    assert drawn.captions == [list(picture.captions) for picture in expected]


def test_a_pool_holds_the_first_pictures_of_a_seed() -> None:
    assert_same(draw_pool(Drawing(), 3, 1_500, processes=1), [Drawing()(3, index) for index in range(1_500)])


def test_processes_draw_what_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CHUNK", 5)
    drawn = draw_pool(illustrations.draw_picture, 1, 12, processes=2)
    assert_same(drawn, [illustrations.draw_picture(1, index) for index in range(12)])


def test_a_pool_is_drawn_once() -> None:
    drawing = Drawing()
    first = draw_pool(drawing, 0, 5_000, processes=1)
    before = drawing.drawn
    again = draw_pool(drawing, 0, 5_000, processes=1)
    assert drawing.drawn - before < 600
    np.testing.assert_array_equal(first.pixels, again.pixels)


@pytest.mark.parametrize(("drawing", "seed", "count"), [(Drawing(8), 0, 40), (Drawing(), 1, 40), (Drawing(), 0, 41)])
def test_another_drawing_seed_or_number_is_another_pool(drawing: Drawing, seed: int, count: int) -> None:
    draw_pool(Drawing(), 0, 40, processes=1)
    expected = [drawing(seed, index) for index in range(count)]
    assert_same(draw_pool(drawing, seed, count, processes=1), expected)


def test_one_picture_more_is_another_pool() -> None:
    assert [len(draw_pool(Drawing(), 0, count, processes=1).concepts) for count in (1_025, 1_026)] == [1_025, 1_026]


def test_broken_drawing_leaves_nothing_behind(scratch: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        draw_pool(Drawing(), 0, 20_002, processes=1)
    assert not list((scratch / "pictures").iterdir())


def test_pictures_that_find_no_room_are_refused_before_drawing(scratch: Path) -> None:
    with pytest.raises(UsageError, match=r"the pictures need 192000\.0 GB, .* GB free: set ANOMALYCLIP_SCRATCH"):
        draw_pool(Drawing(), 0, 10**12, processes=1)
