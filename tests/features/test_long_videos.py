import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.features.extraction import extract_video
from anomalyclip.features.index import ExtractionResult
from anomalyclip.features.store import FeatureStore
from anomalyclip.storage import Storage
from tests.long_footage import B_FRAMES, OPEN_GOP, REFRESH, draw_long, mark_keys

WHOLE = ExtractionConfig(batch_size=16, crops=10)
PARTS = WHOLE.model_copy(update={"part_frames": 100})  # rounded up to 208: 13 batches of 10 crops are a row group
FRAMES = 700


class Encoder:
    """Colours of regions as features; `dies_at` is the number of frames before it is out of memory."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.frames = 0
        self._dies_at = dies_at

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if self._dies_at is not None and self.frames >= self._dies_at:
            raise MemoryError("out of memory")
        self.frames += len(frames)
        return frames[:, :40].reshape(len(frames), 10, -1, 4).mean(axis=2).astype(np.float16)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(timeout=20)
    yield decoder
    decoder.close()


def extract(
    video: Path, storage: Storage, decoder: Decoder, settings: ExtractionConfig = PARTS, name: str = "parts",
    encoder: Encoder | None = None,
) -> ExtractionResult:  # fmt: skip
    return extract_video(str(video), encoder or Encoder(), FeatureStore(storage, name), settings, decoder)


def file_digest(storage: Storage, result: ExtractionResult, name: str) -> str:
    return hashlib.sha256(storage.read(f"features/{name}/{result.hash}.parquet")).hexdigest()


def parts_of(storage: Storage) -> list[str]:
    return [file.key.rsplit("/", 1)[1] for file in storage.files() if "/long/" in file.key]


@pytest.mark.parametrize(
    "name, drawn",
    [
        ("a.mp4", {"options": B_FRAMES, "sound": True}),
        ("a.mkv", {"options": OPEN_GOP, "uneven": True}),
        ("a.ts", {"options": OPEN_GOP}),
        ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("refresh.mp4", {"options": REFRESH}),
        ("one_key.mp4", {"options": {"x264-params": "keyint=10000"}, "gop": 10_000}),
    ],
)
def test_the_file_of_a_video_in_parts_is_that_of_one_pass(
    name: str, drawn: Mapping[str, Any], storage: Storage, decoder: Decoder, tmp_path: Path
) -> None:
    video = draw_long(tmp_path / name, FRAMES, **drawn)
    settings = [each.model_copy(update={"sampling_rate": 1 + name.endswith("ts")}) for each in (WHOLE, PARTS)]

    whole = extract(video, storage, decoder, settings[0], "whole")
    parts = extract(video, storage, decoder, settings[1])

    assert parts.error is whole.error is None
    assert file_digest(storage, parts, "parts") == file_digest(storage, whole, "whole")
    assert parts_of(storage) == []


@pytest.mark.parametrize("name, gop, kept", [("a.mp4", 25, 2), ("one_key.mp4", 10_000, 2)])
def test_a_job_that_died_encodes_no_finished_part_again(
    name: str, gop: int, kept: int, storage: Storage, decoder: Decoder, tmp_path: Path
) -> None:
    options = {"x264-params": f"keyint={gop}:scenecut=0"}
    video = draw_long(tmp_path / name, FRAMES, options=options, gop=gop)
    with pytest.raises(MemoryError):
        extract(video, storage, decoder, encoder=Encoder(dies_at=500))
    assert sum(part.startswith(("part", "whole")) for part in parts_of(storage)) == kept

    encoder = Encoder()
    result = extract(video, storage, decoder, encoder=encoder)

    assert (result.error, result.frames, encoder.frames) == (None, FRAMES, FRAMES - kept * 208)
    whole = extract(video, storage, decoder, WHOLE, "whole")
    assert file_digest(storage, result, "parts") == file_digest(storage, whole, "whole")
    assert parts_of(storage) == []


@pytest.mark.parametrize("name, is_seen", [("a.mp4", True), ("a.avi", True), ("a.ts", False)])
def test_a_video_that_is_broken_in_the_middle_gives_what_one_pass_gives(
    name: str, is_seen: bool, storage: Storage, decoder: Decoder, tmp_path: Path
) -> None:
    video = draw_long(tmp_path / name, FRAMES, **({"codec": "mpeg4", "options": {}} if name == "a.avi" else {}))
    data = bytearray(video.read_bytes())
    generator = np.random.default_rng(0)
    middle = int(len(data) * 0.55)
    data[middle : middle + 3000] = generator.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    video.write_bytes(data)

    whole = extract(video, storage, decoder, WHOLE, "whole")
    parts = extract(video, storage, decoder)

    assert (parts.error, parts.frames, parts.hash) == (whole.error, whole.frames, whole.hash)
    assert (parts.error is not None) == is_seen
    assert is_seen or file_digest(storage, parts, "parts") == file_digest(storage, whole, "whole")
    assert len(storage.files()) == 2 * (not is_seen)


def test_a_damaged_part_is_made_again(storage: Storage, decoder: Decoder, tmp_path: Path) -> None:
    video = draw_long(tmp_path / "a.mp4", FRAMES)
    with pytest.raises(MemoryError):
        extract(video, storage, decoder, encoder=Encoder(dies_at=500))
    (first,) = [file.key for file in storage.files() if file.key.endswith("part-00000.parquet")]
    data = bytearray(storage.read(first))
    data[1000] ^= 1
    storage.write(first, bytes(data))

    result = extract(video, storage, decoder)

    whole = extract(video, storage, decoder, WHOLE, "whole")
    assert file_digest(storage, result, "parts") == file_digest(storage, whole, "whole")


def test_a_folder_of_pictures_is_resumed_too(storage: Storage, decoder: Decoder, tmp_path: Path) -> None:
    for number in range(300):
        picture = np.full((48, 64, 3), number % 256, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.bmp"), picture)
    with pytest.raises(MemoryError):
        extract(tmp_path, storage, decoder, encoder=Encoder(dies_at=250))
    encoder = Encoder()
    result = extract(tmp_path, storage, decoder, encoder=encoder)
    assert (result.frames, encoder.frames) == (300, 92)
    whole = extract(tmp_path, storage, decoder, WHOLE, "whole")
    assert file_digest(storage, result, "parts") == file_digest(storage, whole, "whole")


def test_a_video_whose_parts_differ_at_their_borders_is_decoded_from_its_start(
    storage: Storage, decoder: Decoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = draw_long(tmp_path / "plain.mp4", FRAMES, codec="mpeg4", options={}, gop=10_000)
    video = mark_keys(plain, tmp_path / "a.mp4", 25)

    result = extract(video, storage, decoder)

    assert "frames between parts 0 and 1 depend on where decoding began" in caplog.text
    whole = extract(video, storage, decoder, WHOLE, "whole")
    assert file_digest(storage, result, "parts") == file_digest(storage, whole, "whole")
