"""Extraction on Ray beside a bare loop of decoding and encoding in one process."""

import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from anomalyclip.config import RunConfig
from anomalyclip.data.manifest import load_manifest
from anomalyclip.data.video import VideoReader
from anomalyclip.device import resolve_device, resolve_precision
from anomalyclip.features.backbone import load_backbone
from anomalyclip.features.encoder import FrameEncoder
from anomalyclip.features.ray_extraction import extract_missing
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.drawn import draw_demo

pytestmark = [pytest.mark.cluster, pytest.mark.accept]


def test_extraction_beside_a_bare_loop(benchmark: BenchmarkFixture, ray_session: None, tmp_path: Path) -> None:
    config, backbone = RunConfig(), load_backbone(RunConfig().backbone)
    device = resolve_device()
    encoder = FrameEncoder(backbone, resolve_precision("auto", device), device)
    manifest = load_manifest(draw_demo(tmp_path))

    def bare_loop() -> float:
        started, frames = time.perf_counter(), 0
        for source in manifest["source"]:
            frames += sum(len(encoder(batch)) for batch in VideoReader(source))
        return frames / (time.perf_counter() - started)

    def extraction(name: str) -> float:
        storage = Storage(str(tmp_path / name))
        report = extract_missing(manifest, config, storage, backbone=backbone)
        rate = FeatureStore(storage, report.fingerprint).rate()
        assert rate is not None
        return rate

    rates = [(bare_loop(), extraction(f"storage-{turn}")) for turn in range(3)]
    bare, extracted = (max(column) for column in zip(*rates, strict=True))
    benchmark.extra_info.update(bare=bare, extraction=extracted, ratio=extracted / bare)
    benchmark.pedantic(bare_loop, rounds=1)
    print(f"\nbare loop {bare:.0f} frames/s, extraction {extracted:.0f} frames/s, ratio {extracted / bare:.2f}")
