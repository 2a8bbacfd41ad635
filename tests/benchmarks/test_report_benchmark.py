"""Opening a report of 1,000 videos with 3,000 key frames, beside a page of the same data that does nothing."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from anomalyclip.events.event import Event, Track, even_edges
from anomalyclip.report.page import ReportModel, ReportVideo, write_report
from tests.chromium import chromium

pytestmark = pytest.mark.accept

VIDEOS, FRAMES, FPS = 1000, 3000, 25
CLASSES = ("Normal", *(f"class {number}" for number in range(13)))
STARTS = (100, 1000, 2000)
PAINTED = """
const [selector, done] = arguments;
const look = () => {
  if (document.querySelector(selector)) requestAnimationFrame(() => setTimeout(done));
  else setTimeout(look, 5);
};
look();
"""


def test_a_report_of_1000_videos_opens_in_3_seconds(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    report = write_report(tmp_path, ReportModel("model", 0.5, 0.9, CLASSES, "", "today"), videos())
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub("<script>.*?</script>", "", report.read_text(), flags=re.DOTALL))
    rounds = [(opened(bare, "main", tmp_path), opened(report, ".chart canvas", tmp_path)) for _ in range(3)]
    idle, whole = (min(column) for column in zip(*rounds, strict=True))
    benchmark.extra_info.update(bare=idle, report=whole, megabytes=report.stat().st_size / 1e6)
    benchmark.pedantic(lambda: opened(report, ".chart canvas", tmp_path), rounds=1)
    print(f"\n{report.stat().st_size / 1e6:.0f} MB: bare page {idle:.2f} s, report {whole:.2f} s")
    assert whole < 3


def opened(page: Path, painted: str, folder: Path) -> float:
    """Seconds from the address to the frame in which an element of this selector is painted; a new browser each."""
    with chromium(folder) as browser:
        started = time.perf_counter()
        browser.get(page.as_uri())
        browser.execute_async_script(PAINTED, painted)
        return time.perf_counter() - started


def videos() -> Iterator[ReportVideo]:
    """Videos of two minutes with noisy scores, classes that change every few seconds, and pictures of 12 kB."""
    noise = np.random.default_rng(0)
    texture = cv2.GaussianBlur(noise.integers(0, 255, (240, 320, 3), dtype=np.uint8), (9, 9), 0)
    picture = bytes(cv2.imencode(".jpg", texture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])
    for number in range(VIDEOS):
        name = f"video {number}"
        probabilities = np.repeat(noise.random((FRAMES // 100, len(CLASSES))), 100, axis=0)
        track = Track(name, CLASSES, noise.random(FRAMES), probabilities, even_edges(FRAMES, FPS))
        label, peak = CLASSES[1 + number % 13], float(noise.uniform(0.5, 1))
        events = [
            Event(
                name, start, start + 99, start / FPS, start / FPS + 4, None, None, label, 0.7, peak, 0.5, start, "alert"
            )
            for start in STARTS
        ]
        frames = {event.peak_frame: picture for event in events}
        yield ReportVideo(track, events, f"{name}.mp4", f"/videos/{name}.mp4", None, frames)
