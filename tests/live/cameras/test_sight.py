"""Sight: a black picture, one that stands still, and none at all; a quiet scene is not one of them."""

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyclip.live.cameras.sight import HEIGHT, WIDTH, PictureWatch, SightWatch
from anomalyclip.live.frames import SightChange

RNG = np.random.default_rng(0)
SCENE = RNG.integers(60, 200, (HEIGHT, WIDTH))


def noisy(picture: NDArray[np.int64], sigma: float) -> NDArray[np.uint8]:
    return np.clip(picture + RNG.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def sights(pictures: list[NDArray[np.uint8]], rate: float = 4.0) -> list[tuple[str, float]]:
    watch = PictureWatch(10.0)
    changes = (watch.look(picture, number / rate) for number, picture in enumerate(pictures))
    return [(change.sight, change.time) for change in changes if change]


def test_a_picture_that_stands_still_is_frozen_until_it_changes() -> None:
    still = [noisy(SCENE, 0)] * 60
    assert sights([*still, noisy(SCENE[::-1], 0)]) == [("frozen", 10.0), ("ok", 15.0)]


def test_a_quiet_scene_is_not_frozen_because_a_sensor_is_never_still() -> None:
    assert sights([noisy(SCENE, 1.5) for _ in range(200)]) == []


def test_what_an_encoder_does_to_one_picture_is_no_change() -> None:
    pictures = [(SCENE + RNG.integers(0, 2, SCENE.shape)).astype(np.uint8) for _ in range(60)]
    assert sights(pictures) == [("frozen", 10.0)]


def test_the_noise_of_a_large_picture_is_seen() -> None:
    watch = PictureWatch(1.0)
    scene = np.full((360, 640), 90)
    frames = (av.VideoFrame.from_ndarray(noisy(scene, 3), format="gray") for _ in range(10))
    assert not any(watch.see(frame, number / 4) for number, frame in enumerate(frames))


def test_a_black_picture_is_black_with_noise_and_a_clock_in_it() -> None:
    black = np.full((HEIGHT, WIDTH), 8)
    black[2:4, 4:30] = 235
    assert sights([*[noisy(black, 3) for _ in range(60)], noisy(SCENE, 1)]) == [("black", 10.0), ("ok", 15.0)]


def test_a_dark_scene_is_not_black() -> None:
    assert sights([noisy(SCENE // 4, 2) for _ in range(100)]) == []


def test_time_without_pictures_does_not_count() -> None:
    watch = PictureWatch(10.0)
    still = noisy(SCENE, 0)
    times = [*np.arange(0, 8, 0.25), *np.arange(60, 68, 0.25)]
    assert not any(watch.look(still, time) for time in times)


@pytest.mark.parametrize("before", ["ok", "frozen"])
def test_a_lost_source_is_told_once_and_comes_back_as_what_it_is(before: str) -> None:
    watch = SightWatch(3.0)
    pictures = () if before == "ok" else (SightChange("frozen", 5.0),)
    assert watch.changes(pictures, 0.1, 5.0) == pictures
    assert watch.changes((), 2.9, 8.0) == ()
    assert watch.changes((), 3.0, 8.1) == (SightChange("lost", 8.1),)
    assert watch.changes((), 60.0, 70.0) == ()
    (back,) = watch.changes((), 0.0, 71.0)
    assert back == SightChange(before, 71.0)  # type: ignore[arg-type]
