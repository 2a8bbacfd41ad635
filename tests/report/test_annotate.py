"""Annotated copies: the same frames and times, a frame around events in their colour, and the scores' graph."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from anomalyclip.data.video import VideoReader, timed_frames
from anomalyclip.data.video_writer import video_writer
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.events.event import Event, Track, frame_edges
from anomalyclip.report.annotate import COLOURS, annotate
from tests.events_found import event

POINT = OperatingPoint(detection=0.5, alert=0.9)


def black(path: Path, times: list[float], height: int = 240, width: int = 320) -> Path:
    with video_writer(path) as writer:
        for seconds in times:
            writer.write(np.zeros((height, width, 3), np.uint8), seconds)
    return path


def track(times: list[float], scores: list[float]) -> Track:
    probabilities = np.stack([1 - np.array(scores), np.array(scores)], axis=1)
    return Track("a", ("Normal", "Fighting"), np.array(scores), probabilities, frame_edges(np.array(times)))


def annotated(folder: Path, times: list[float], scores: list[float], events: list[Event]) -> np.ndarray:
    annotate(timed_frames(black(folder / "a.mp4", times)), folder / "copy.mp4", track(times, scores), events, POINT)
    return np.concatenate(list(VideoReader(folder / "copy.mp4"))).astype(int)


def is_colour(pixels: np.ndarray, severity: str) -> bool:
    return bool(np.abs(pixels - COLOURS[severity]).max() < 60)


def test_frames_and_times_are_those_of_the_source(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.5, 0.55, 2.0, 2.04, 2.5]
    annotated(tmp_path, times, [0.2] * 7, [])
    copied = [frame.seconds for frame in timed_frames(tmp_path / "copy.mp4")]
    assert copied == pytest.approx(times, abs=1e-4)


def test_events_have_a_frame_and_their_class_in_the_colour_of_their_severity(tmp_path: Path) -> None:
    times = [number / 10 for number in range(40)]
    events = [
        event(start_frame=5, end_frame=9, severity="alert", label="打架 Fight"),
        event(start_frame=20, end_frame=39, severity="detection"),
    ]
    copy = annotated(tmp_path, times, [0.1] * 40, events)
    for number, picture in enumerate(copy):
        severity = next((e.severity for e in events if e.start_frame <= number <= e.end_frame), None)
        if severity:
            assert is_colour(picture[1, 1:-1], severity) and is_colour(picture[:, -2], severity)
            label = picture[4:14, 8:80]
            assert label.min(axis=2).max() > 200  # white letters
        else:
            assert picture[:150].max() < 20


def test_the_graph_shows_scores_around_now_and_the_threshold(tmp_path: Path) -> None:
    times = [number / 2 for number in range(80)]
    scores = [0.0] * 40 + [1.0] * 40  # a step at 20 s
    copy = annotated(tmp_path, times, scores, [])
    blue = copy[..., 2] - copy[..., 0] > 60
    top = 240 - round(240 * 0.16)
    high, low = slice(top, top + 6), slice(234, 240)
    before, at_step, after = blue[20], blue[40], blue[60]  # 10 s, 20 s, 30 s, of windows of 20 s
    assert before[low, 10:300].any(0).mean() > 0.9 and not before[high, :310].any()
    assert at_step[low, 5:150].any(0).mean() > 0.9 and at_step[high, 170:310].any(0).mean() > 0.9
    assert after[high, 20:310].any(0).mean() > 0.9
    assert not blue[0][:, :150].any()  # no scores before the start
    line = copy[0][(top + 240) // 2 - 2 : (top + 240) // 2 + 3, 10:100]
    assert line.max(axis=(0, 2)).min() > 60  # the threshold, in the middle


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for length in (20, 120):
        times = [number / 10 for number in range(length)]
        source = black(tmp_path / f"{length}.mp4", times, 96, 128)
        tracemalloc.start()
        annotate(timed_frames(source), tmp_path / "copy.mp4", track(times, [0.2] * length), [], POINT)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_tiny_picture_is_annotated(tmp_path: Path) -> None:
    frames = timed_frames(black(tmp_path / "a.mp4", [0.0, 0.1], 16, 16))
    annotate(frames, tmp_path / "copy.mp4", track([0.0, 0.1], [0.2, 0.9]), [event(end_frame=1, start_frame=0)], POINT)
    assert sum(len(batch) for batch in VideoReader(tmp_path / "copy.mp4")) == 2
