"""Times of frames: evened out, rising, and near the time of receipt."""

import numpy as np
import pytest

from anomalyclip.live.cameras.clock import Clock, Thinning, rising


def times(stamps: list[float], received: list[float]) -> list[float]:
    clock, found = Clock(), list[float]()
    for stamp, now in zip(stamps, received, strict=True):
        clock.anchor(stamp, now)
        found.append(clock.time(stamp, now))
    return found


def test_what_waited_on_its_way_has_the_time_of_its_stamp() -> None:
    stamps = [number / 25 for number in range(100)]
    late = np.random.default_rng(0).uniform(0, 0.3, 100)
    late[3] = 0
    found = times(stamps, [1000 + stamp + wait for stamp, wait in zip(stamps, late, strict=True)])
    np.testing.assert_allclose(np.diff(found[3:]), 1 / 25, atol=5e-3)
    np.testing.assert_allclose(found[3:], 1000 + np.asarray(stamps[3:]), atol=0.01)


def test_a_camera_whose_clock_is_wrong_is_followed() -> None:
    for speed in (0.9999, 1.0001):
        received = [1000 + number / 25 for number in range(25 * 600)]
        found = times([number / 25 * speed for number in range(25 * 600)], received)
        assert np.abs(np.asarray(found) - received).max() < 0.01


def test_stamps_that_jump_are_followed() -> None:
    found = times([0.0, 0.04, 5000.0, 5000.04, 0.0], [10.0, 10.04, 10.08, 10.12, 10.16])
    np.testing.assert_allclose(found, [10.0, 10.04, 10.08, 10.12, 10.16])


def test_a_recording_is_played_from_now_and_over_jumps_of_its_stamps() -> None:
    clock, found = Clock(), list[float]()
    for now, stamp in enumerate([7.0, 7.04, 7.5, 0.0, 0.04, 5000.0, 5000.04]):
        clock.play(stamp, float(now))
        found.append(round(clock.time(stamp, 0.0), 3))
    assert found == [0.0, 0.04, 0.5, 3.0, 3.04, 5.0, 5.04]


def test_without_stamps_the_time_of_receipt_counts() -> None:
    clock = Clock()
    assert clock.time(None, 5.0) == 5.0 and clock.time(1.0, 5.0) == 5.0


def test_times_rise_unless_the_machine_was_set_back() -> None:
    assert rising(10.0, 9.0) == 10.0
    assert 10.0 < rising(9.9, 10.0) < 10.01
    assert rising(10.0, 5000.0) == 10.0


@pytest.mark.parametrize(
    ("rate", "fps", "expected"), [(25, 5, 50), (25, 10, 100), (25, 24, 240), (25, 60, 250), (7, 5, 50)]
)
def test_frames_are_thinned_to_a_rate_though_their_times_waver(rate: int, fps: float, expected: int) -> None:
    times = 1e9 + np.arange(10 * rate) / rate + np.random.default_rng(0).uniform(0, 0.01, 10 * rate)
    thinning = Thinning(fps)
    taken = [time for time in times if thinning.takes(time)]
    assert abs(len(taken) - 10 * min(fps, rate)) <= 2 and np.diff(taken).max() < 2 / min(fps, rate) + 0.02


def test_thinning_goes_on_after_a_gap_and_after_a_clock_was_set_back() -> None:
    thinning = Thinning(1.0)
    assert [time for time in (0.0, 0.5, 1.0, 100.0, 100.5, 101.0, 50.0, 50.5, 51.0) if thinning.takes(time)] == [
        0.0, 1.0, 100.0, 101.0, 50.0, 51.0,
    ]  # fmt: skip
    assert all(map(Thinning(None).takes, (1.0, 1.0)))
