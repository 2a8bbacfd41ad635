"""Thinning: a timeline keeps every peak, in few points."""

import numpy as np
import pytest

from anomalyclip.events.event import Track
from anomalyclip.report.timeline import MOST_POINTS, thin
from tests.reported import track

LONG = 30_007


def test_a_short_video_keeps_every_frame_and_ends_with_its_last_frame() -> None:
    timeline = thin(track("short", [0.1, 0.7, 0.3]))
    assert timeline.times == [0.0, 0.1, 0.2, 0.3]
    assert timeline.scores == [0.1, 0.7, 0.3, 0.3]


def test_a_single_frame_is_a_line_over_its_duration() -> None:
    timeline = thin(track("one", [0.4]))
    assert (timeline.times, timeline.scores) == ([0.0, 0.1], [0.4, 0.4])


@pytest.mark.parametrize("frame", [0, 17, 12_345, LONG - 1])
@pytest.mark.parametrize("spike", [0.99, 0.0])
def test_a_long_video_loses_no_peak_and_no_dip_of_one_frame(frame: int, spike: float) -> None:
    scores = np.full(LONG, 0.5)
    scores[frame] = spike
    timeline = thin(track("long", scores.tolist()))
    assert len(timeline.times) <= MOST_POINTS + 1
    assert (frame / 10, spike) in list(zip(timeline.times, timeline.scores, strict=True))
    assert timeline.times == sorted(timeline.times)
    assert timeline.times[-1] == LONG / 10


def test_times_are_those_of_the_frames_at_a_variable_rate() -> None:
    even = track("variable", [0.1, 0.2, 0.3])
    edges = np.array([0.0, 0.5, 2.0, 2.1])
    assert thin(Track("variable", even.classes, even.scores, even.probabilities, edges)).times == edges.tolist()


def test_the_class_of_a_bucket_has_most_of_the_mass_and_is_never_normal() -> None:
    frames = 2 * MOST_POINTS  # four frames per bucket
    probabilities = np.tile([0.04, 0.95, 0.01], (frames, 1))  # Fighting, Normal, Arson
    probabilities[frames // 2 :: 4] = [0.0, 0.5, 0.5]  # one frame of each bucket outweighs the other three
    even = track("classes", np.linspace(0, 0.1, frames).tolist())
    found = thin(Track("classes", even.classes, even.scores, probabilities, even.edges))
    assert found.runs == [(0, "Fighting"), (MOST_POINTS // 2, "Arson")]
