"""The loop: frames of cameras to messages, with cameras, an encoder and a scorer that do as they are told."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from anomalyclip.config import BackboneConfig, EventsConfig
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.live import watch as module
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.evidence import Evidence
from anomalyclip.live.frames import SightChange, Taken
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.scorer import LiveScorer, Scored
from anomalyclip.live.sinks.outbox import Outbox
from anomalyclip.live.watch import Model, Watch, encode_together
from anomalyclip.live.window import Pushed
from tests.live.test_announcer import Recorder, told

POINT = OperatingPoint(detection=0.5, alert=0.8, events=EventsConfig(smoothing=0, gap=0.2, shortest=0.1))
FPS = 25
BEGAN = 1_700_000_000.0


class Camera(Recorder):
    """Frames that are all of one brightness, from 0 to 100, and what else happens."""

    fault, depth = "", 0

    def __init__(self, levels: Sequence[int], size: tuple[int, int] = (4, 4), ends: bool = True) -> None:
        super().__init__()
        self.levels, self._size, self._ends = levels, size, ends
        self.changes: list[SightChange] = []
        self.at, self.dropped, self.closed, self.asked_for = 0, 0, False, 0

    def take(self, at_most: int) -> Taken:
        self.asked_for = at_most
        levels = self.levels[self.at : self.at + at_most]
        numbers = np.arange(self.at, self.at + len(levels))
        self.at += len(levels)
        frames = np.empty((len(levels), *self._size, 3), np.uint8)
        frames[:] = np.array(levels, np.uint8)[:, None, None, None]
        changes, self.changes = self.changes, []
        dropped, self.dropped = self.dropped, 0
        ended = self._ends and self.at == len(self.levels)
        return Taken(frames, numbers, BEGAN + numbers / FPS, dropped, tuple(changes), ended)

    def close(self) -> None:
        self.closed = True


class Scorer:
    """Brightness in per cent as score; frames have theirs `delay` frames later."""

    def __init__(self, label: str = "Fire", delay: int = 0, rate: int = 1) -> None:
        self.classes, self.new_classes = (label, "Normal"), ()
        self.card = SimpleNamespace(sampling_rate=rate)
        self._delay = delay
        self._kept: dict[str, list[tuple[int, float, float]]] = {}
        self.seen: list[int] = []

    def push(self, parts: Mapping[str, Pushed]) -> dict[str, Scored]:
        for name, part in parts.items():
            self.seen += part.numbers.tolist()
            rows = zip(part.numbers.tolist(), part.times.tolist(), (part.features[:, 0, 0] / 100).tolist(), strict=True)
            self._kept.setdefault(name, []).extend(rows)
        return {name: self._scored(name, self._delay) for name in parts}

    def forget(self, name: str) -> Scored:
        return self._scored(name, 0)

    def swap(self, other: "Scorer") -> None:
        self.classes, self._delay = other.classes, other._delay

    def _scored(self, name: str, delay: int) -> Scored:
        kept = self._kept.setdefault(name, [])
        ready, self._kept[name] = kept[: len(kept) - delay or None], kept[len(kept) - delay :] if delay else []
        numbers, times, scores = (np.array([row[place] for row in ready]) for place in range(3))
        return Scored(numbers.astype(np.int64), times, scores, np.stack([scores, 1 - scores], axis=1))


def encode(frames: np.ndarray) -> np.ndarray:
    return frames[:, :1, 0, :1].astype(np.float16)


def model(name: str = "models:/m/1", encode: Any = encode, point: OperatingPoint = POINT, **scorer: Any) -> Model:
    return Model(name, encode, cast(LiveScorer, Scorer(**scorer)), point)


class Site:
    """A watch of some cameras, and what it tells."""

    def __init__(self, folder: Path, cameras: Mapping[str, Camera], model: Model) -> None:
        self.outbox = Outbox(folder / "o", ["stdout"])
        self.metrics = Metrics(list(cameras))
        self.watch = Watch(cameras, model, Announcer(self.outbox, Evidence(folder), self.metrics), self.metrics)

    def told(self) -> list[Mapping[str, Any]]:
        return [each for each in told(self.outbox) if each["type"] != "update"]


def levels(*spans: tuple[int, int], frames: int = 100) -> list[int]:
    """Brightness of frames: 90 from the first to the last one of each span, else 10."""
    return [90 if any(first <= number <= last for first, last in spans) else 10 for number in range(frames)]


def spans(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int, str]]:
    """Source, first and last frame of the events that ended, and the reason."""
    ends = [each for each in messages if each["type"] == "end" and each["kind"] == "anomaly"]
    return [(each["source"], each["after"]["start_frame"], each["after"]["end_frame"], each["reason"]) for each in ends]


def test_every_source_to_its_end_gives_its_events_and_then_it_is_over(tmp_path: Path) -> None:
    cameras = {"front": Camera(levels((20, 40))), "yard": Camera(levels((50, 70), (90, 99)), (6, 8))}
    site = Site(tmp_path, cameras, model(delay=7))
    site.watch.run(threading.Event())
    messages = site.told()
    assert sorted(spans(messages)) == [
        ("front", 20, 40, "over"), ("yard", 50, 70, "over"), ("yard", 90, 99, "source ended"),
    ]  # fmt: skip
    assert [each["type"] for each in messages].count("new") == 3
    assert all(camera.closed for camera in cameras.values())
    assert (site.watch.frames, site.outbox.open_events()) == (200, [])
    assert {each["after"]["clip"] for each in messages} == {f"clips/{each['id']}.mkv" for each in messages}
    kinds = [each[0] for each in cameras["front"].asked]
    assert (kinds[0], kinds[-1], set(kinds)) == ("record", "finish", {"record", "picture", "finish"})


def test_events_do_not_depend_on_how_many_cameras_are_watched_with_it(tmp_path: Path) -> None:
    def found(*others: str) -> list[tuple[str, int, int, str]]:
        cameras = {name: Camera(levels((20, 40), (60, 65))) for name in ("front", *others)}
        site = Site(tmp_path / str(len(others)), cameras, model(delay=5))
        site.watch.run(threading.Event())
        return [each for each in spans(site.told()) if each[0] == "front"]

    for folder in ("0", "3"):
        (tmp_path / folder).mkdir()
    assert found() == found("a", "b", "c")


def test_told_to_stop_it_ends_what_is_open_and_closes_the_cameras(tmp_path: Path) -> None:
    camera, stop = Camera(levels((20, 99)), ends=False), threading.Event()
    site = Site(tmp_path, {"front": camera}, model(delay=5))
    camera.changes.append(SightChange("black", BEGAN - 1))
    while camera.at < 100:
        site.watch.turn()
    stop.set()
    site.watch.run(stop)
    messages = site.told()
    assert spans(messages) == [("front", 20, 99, "watch stopped")]
    assert [(each["kind"], each["reason"]) for each in messages if each["type"] == "end"] == [
        ("anomaly", "watch stopped"), ("sight", "watch stopped"),
    ]  # fmt: skip
    assert camera.closed and site.outbox.open_events() == []


def test_a_lost_source_ends_its_events_and_what_comes_later_is_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "anomalyclip")
    camera = Camera(levels((20, 80)), ends=False)
    camera.fault = "connection refused"
    site = Site(tmp_path, {"front": camera}, model(delay=5))
    camera.levels, rest = camera.levels[:50], camera.levels
    site.watch.turn()
    camera.changes.append(SightChange("lost", BEGAN + 3))
    site.watch.turn()
    assert site.metrics.fault() == "no source gives frames"
    camera.levels = rest
    camera.changes.append(SightChange("ok", BEGAN + 50 / FPS))
    site.watch.turn()
    assert site.metrics.fault() is None
    messages = site.told()
    assert spans(messages) == [("front", 20, 49, "source lost"), ("front", 50, 80, "over")]
    assert [each["after"]["label"] for each in messages if each["kind"] == "sight"] == ["camera lost"] * 2
    order = [(each["kind"], each["type"]) for each in messages]
    assert order[1:3] == [("anomaly", "end"), ("sight", "new")]
    assert "source front: lost (connection refused)" in caplog.text and "source front: ok" in caplog.text


def test_a_model_with_a_sampling_rate_sees_every_nth_frame_of_the_source(tmp_path: Path) -> None:
    used = model(rate=4)
    Site(tmp_path, {"front": Camera(levels(frames=30))}, used).watch.run(threading.Event())
    assert cast(Scorer, used.scorer).seen == [0, 4, 8, 12, 16, 20, 24, 28]


def test_another_version_takes_over_between_two_turns_and_no_frame_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "anomalyclip")
    camera, first = Camera(levels((10, 40), (60, 80)), ends=False), model(delay=5)
    site = Site(tmp_path, {"front": camera}, first)
    camera.levels, rest = camera.levels[:30], camera.levels
    site.watch.turn()
    site.watch.take_over(model("models:/m/2", label="Flood", delay=5))
    camera.levels = rest
    site.watch.turn()
    messages = site.told()
    assert spans(messages) == [("front", 10, 24, "new model"), ("front", 25, 40, "over"), ("front", 60, 80, "over")]
    assert [each["after"]["label"] for each in messages if each["type"] == "end"] == ["Fire", "Flood", "Flood"]
    assert cast(Scorer, first.scorer).seen == list(range(94))
    assert "models:/m/2 has taken over; its windows go on" in caplog.text


def test_a_version_of_another_backbone_begins_with_an_empty_past(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "anomalyclip")
    camera, other = Camera(levels((10, 80)), ends=False), model("models:/m/2", lambda frames: encode(frames), delay=5)
    site = Site(tmp_path, {"front": camera}, model(delay=5))
    camera.levels, rest = camera.levels[:30], camera.levels
    site.watch.turn()
    site.watch.take_over(other)
    camera.levels = rest
    for _ in range(2):
        site.watch.turn()
    assert spans(site.told()) == [("front", 10, 29, "new model"), ("front", 30, 80, "over")]
    assert cast(Scorer, other.scorer).seen == list(range(30, 100))
    assert "its windows begin anew" in caplog.text


def test_drops_are_counted_and_said_and_a_slow_machine_takes_fewer_frames_at_a_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(frames: np.ndarray) -> np.ndarray:
        time.sleep(0.01 * len(frames))
        return encode(frames)

    camera = Camera(levels(frames=200), ends=False)
    site = Site(tmp_path, {"front": camera}, model(encode=slowly))
    camera.dropped = 12
    site.watch.turn()
    monkeypatch.setattr(module, "REPORT_SECONDS", 0)
    site.watch.turn()
    assert 5 <= camera.asked_for <= 25
    assert site.watch.dropped == 12
    assert "frames dropped in the last minute, for they came too fast: front 12" in caplog.text
    assert b'anomalyclip_live_frames_dropped_total{source="front"} 12.0' in site.metrics.text()


def test_frames_of_several_sizes_have_the_features_that_each_has_alone() -> None:
    encoder = FrameEncoder(load_backbone(BackboneConfig()), "float32", torch.device("cpu"))
    generator, calls = np.random.default_rng(0), []

    def counted(frames: np.ndarray) -> np.ndarray:
        calls.append(frames.shape)
        return encoder(frames)

    shapes = {"a": (3, 48, 64), "b": (2, 60, 40), "c": (0, 48, 64), "d": (1, 48, 64)}
    frames = {name: generator.integers(0, 255, (*shape, 3), dtype=np.uint8) for name, shape in shapes.items()}
    found = encode_together(counted, frames)
    assert calls == [(4, 48, 64, 3), (2, 60, 40, 3)]
    assert set(found) == {"a", "b", "d"}
    for name, each in found.items():
        np.testing.assert_allclose(each, encoder(frames[name]), atol=2e-3)


def test_batches_have_few_sizes_for_each_costs_memory() -> None:
    calls = []

    def counted(frames: np.ndarray) -> np.ndarray:
        calls.append(len(frames))
        return encode(frames)

    for count in range(1, 65):
        frames = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
        assert encode_together(counted, {"a": frames})["a"].ravel().tolist() == list(range(count))
    assert set(calls) == {1, 2, 4, 8, 16, 32, 64}
