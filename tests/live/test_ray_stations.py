"""Cameras on a cluster: watched by actors, and anew where one dies."""

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import ray

from anomalyclip.config import BackboneConfig, LiveConfig
from anomalyclip.events.detection import OperatingPoint
from anomalyclip.features.backbone import load_backbone, save_backbone
from anomalyclip.live.announcer import Announcer
from anomalyclip.live.cameras.sources import Source, parse_sources
from anomalyclip.live.evidence import Evidence
from anomalyclip.live.metrics import Metrics
from anomalyclip.live.model_files import ModelFiles
from anomalyclip.live.ray_stations import Stations
from anomalyclip.live.sinks.outbox import Outbox
from anomalyclip.storage import Storage, scratch
from tests.conftest import DrawVideo
from tests.live.test_announcer import told
from tests.receivers import wait_until
from tests.registered import write_bundle

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]
FRAMES = 40
ALWAYS = OperatingPoint(detection=1e-6, alert=1e-6)
"""Whatever a camera shows is an event."""


@pytest.fixture
def model(tmp_path: Path, storage: Storage) -> ModelFiles:
    backbone = load_backbone(BackboneConfig())
    save_backbone(backbone, storage)
    files = {file.name: file.read_bytes() for file in write_bundle(tmp_path / "bundle", 0).iterdir()}
    return ModelFiles("bundle", files, storage.root, backbone.identity, "float32", ALWAYS)


until = partial(wait_until, seconds=90.0)


class Site:
    """Stations, and what they tell."""

    def __init__(self, folder: Path, sources: tuple[Source, ...], model: ModelFiles) -> None:
        self.outbox, self.metrics = Outbox(folder / "o", ["stdout"]), Metrics([source.name for source in sources])
        announcer = Announcer(self.outbox, Evidence(folder), self.metrics)
        self.stations = Stations(sources, 2, model, LiveConfig(), 10**6, announcer, folder, self.metrics)


def test_sources_are_spread_watched_to_their_end_and_their_clips_are_fetched(
    tmp_path: Path, model: ModelFiles, draw_video: DrawVideo
) -> None:
    names = ["a", "b", "c"]
    files = [str(draw_video(tmp_path / f"{name}.mp4", num_frames=FRAMES)) for name in names]
    site, before = Site(tmp_path, parse_sources(files), model), set(scratch().iterdir())
    site.stations.run(threading.Event())
    assert set(scratch().iterdir()) <= before
    assert (site.stations.frames + site.stations.dropped, site.stations.failed) == (3 * FRAMES, [])
    messages = [each for each in told(site.outbox) if each["kind"] == "anomaly"]
    assert sorted(each["source"] for each in messages if each["type"] == "new") == names
    assert [each["reason"] for each in messages if each["type"] == "end"] == ["source ended"] * 3
    for each in messages:
        assert (tmp_path / each["after"]["clip"]).stat().st_size > 0
        assert (tmp_path / each["after"]["picture"]).stat().st_size > 0
    assert f'frames_total{{source="b"}} {FRAMES}.0' in site.metrics.text().decode()


def test_another_model_takes_over_and_a_station_that_dies_leaves_no_event_open_and_is_replaced(
    tmp_path: Path, model: ModelFiles, draw_video: DrawVideo, caplog: pytest.LogCaptureFixture
) -> None:
    long = str(draw_video(tmp_path / "long.mp4", num_frames=1500))
    site, stop = Site(tmp_path, parse_sources([long]), model), threading.Event()
    thread = threading.Thread(target=site.stations.run, args=(stop,))
    thread.start()
    seen: list[str] = []

    def another_event() -> bool:
        (now,) = [each.id for each in site.outbox.open_events() if each.kind == "anomaly"] or [""]
        seen.extend([now] if now and now not in seen else [])
        return bool(now) and seen[-1] == now

    until(another_event)
    site.stations.take_over(replace(model, name="another"))
    until(lambda: another_event() and len(seen) == 2)
    assert 'model="another"' in site.metrics.text().decode()
    ray.kill(site.stations._remotes[0].actor)
    until(lambda: another_event() and len(seen) == 3)
    stop.set()
    thread.join(60)
    ends = {each["id"]: each["reason"] for each in told(site.outbox) if each["type"] == "end" and each["id"] in seen}
    assert ends == dict(zip(seen, ["new model", "watch broke off", "watch stopped"], strict=True))
    assert site.outbox.open_events() == [] and "the station of long died" in caplog.text
