"""Extraction of one video's features to a file: of a long video in parts, which a killed job has not to make again."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowInvalid

from anomalyclip.config import ExtractionConfig
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.frame_folder import frame_paths, is_folder
from anomalyclip.data.frame_ranges import FirstLook
from anomalyclip.data.timing import Timing, timing_metadata
from anomalyclip.data.video import DecodeError, DecoderKilledError, VideoInfo
from anomalyclip.errors import JobError
from anomalyclip.features.feature_file import Features, FeatureWriter, iterate_features
from anomalyclip.features.video_parts import (
    DECODERS,
    LIBRARIES,
    CutFrames,
    VideoParts,
    batch_of,
    borders_text,
    part_length,
)
from anomalyclip.storage import scratch

log = logging.getLogger("anomalyclip")

KILLED_TRIES = 3
"""Times that a video, or a part of it, is decoded if its decoder is killed each time."""
LEAST_BYTES_A_FRAME = 64
"""Of a still picture in H.264; a file with less for each frame of a part is not looked at."""

Encoder = Callable[[NDArray[np.uint8]], Features]
"""Frames (frames, height, width, 3), uint8 RGB, to features (frames, crops, dim)."""
Result = TypeVar("Result")


def write_features(
    target: Path, source: str, video: Path, encoder: Encoder, decoder: Decoder, parts: VideoParts
) -> tuple[int, VideoInfo]:
    """Write a video's features to a file; returns the stored frames, and what is known of the decoded video.

    A long video is extracted in those `parts` that are not there yet; the file is the same. Raises DecodeError.
    """
    settings = parts.settings
    if (cut := tried_again(source, lambda: cut_frames(video, decoder, parts))) is not None:
        try:
            for number in parts.missing(cut.count):
                write_part(number, cut, source, video, encoder, decoder, parts)
            return join(target, source, cut, parts), cut.table.info
        except DecoderKilledError:
            raise
        except (DecodeError, ArrowInvalid, FileNotFoundError) as error:
            parts.remove()
            parts.give_up(str(error))
            log.warning("%s: decoded from its start, since its parts do not fit together: %s", source, error)
    if parts.used and parts.is_given_up() and not parts.present_from_start():
        # a damaged video has the error of its first fault, known before hours of encoding
        tried_again(source, lambda: _decode_all(video, settings, decoder))
    return tried_again(source, lambda: _from_start(target, source, video, encoder, decoder, parts))


def cut_frames(video: Path, decoder: Decoder, parts: VideoParts) -> CutFrames | None:
    """Return how a video is cut into parts; None for one that is short, a folder, or cannot be cut.

    Raises DecodeError if it cannot be opened.
    """
    settings = parts.settings
    if is_folder(video) or not may_be_long(video.stat().st_size, settings):
        return None
    if parts.begun():
        if parts.is_given_up():
            return None
        if (known := parts.frames()) is not None:
            return known
    look = decoder.first_look(video)
    if not is_long(look, settings):
        return None
    length = part_length(settings, batch_of(settings, look))
    table = decoder.frame_table(video, length * settings.step, look)
    if table is None or len(table.stamps) <= length * settings.step:
        return None
    cut = CutFrames(table, length, settings.step)
    parts.write_frames(cut)
    return cut


def is_long(look: FirstLook, settings: ExtractionConfig) -> bool:
    """Return whether a video has more frames than a part, by its first look."""
    return look.frames > part_length(settings, batch_of(settings, look)) * settings.step


def may_be_long(size: int, settings: ExtractionConfig, bytes_a_frame: int = LEAST_BYTES_A_FRAME) -> bool:
    """Return whether a file of so many bytes may have more frames than a part."""
    return size > settings.part_frames * bytes_a_frame


def write_part(
    number: int, cut: CutFrames, source: str, video: Path, encoder: Encoder, decoder: Decoder, parts: VideoParts
) -> None:
    """Extract and publish a part, again if its decoder was killed; raises DecodeError."""
    wanted = cut.table.range(number, cut.length * cut.step)
    if wanted is None:
        raise DecodeError(f"{video}: no key frame near part {number}")
    settings = parts.settings

    def attempt() -> None:
        with TemporaryDirectory(dir=scratch(), prefix="extract-") as folder:
            file = Path(folder) / "part.parquet"
            with FeatureWriter(file, settings.step) as writer:
                for frames in decoder.range_batches(video, wanted, settings.step, settings.batch_size):
                    writer.append(encoder(frames))
                writer.describe({"borders": borders_text(decoder.borders)})
            if writer.frames != cut.stored(number):
                raise DecodeError(f"{video}: {writer.frames} frames in part {number}, not {cut.stored(number)}")
            parts.publish(number, file)

    tried_again(source, attempt)


def join(target: Path, source: str, cut: CutFrames, parts: VideoParts) -> int:
    """Write all parts of a video to a file, the one that an extraction in one pass writes; returns the stored frames.

    Raises DecodeError if the parts do not fit together, ArrowInvalid if one is damaged, FileNotFoundError.
    """
    for number, (before, after) in enumerate(pairwise(map(parts.borders, range(cut.count)))):
        if before.tail != after.head:
            raise DecodeError(f"frames between parts {number} and {number + 1} depend on where decoding began")
    with FeatureWriter(target, parts.settings.step) as writer:
        for number in range(cut.count):
            for group in parts.features(number):
                writer.append_group(group)
        writer.describe(_description(source, cut.table.info, parts.settings, of_pictures=False))
    return writer.frames


def tried_again(source: str, attempt: Callable[[], Result]) -> Result:
    """Return what `attempt` returns, begun again if its decoder was killed; raises DecoderKilledError at last."""
    for tries in range(1, KILLED_TRIES):
        with suppress(DecoderKilledError):
            return attempt()
        log.warning("%s: its decoder was killed, and starts again (try %d)", source, tries + 1)
    try:
        return attempt()
    except DecoderKilledError as error:
        raise DecoderKilledError(f"{error}, {KILLED_TRIES} times: --retry tries it again") from None


def _decode_all(video: Path, settings: ExtractionConfig, decoder: Decoder) -> None:
    for _ in decoder.batches(video, settings.step, settings.batch_size):
        pass


def _from_start(
    target: Path, source: str, video: Path, encoder: Encoder, decoder: Decoder, parts: VideoParts
) -> tuple[int, VideoInfo]:
    """Write a video's features as its frames come; each part of a long one is kept, and not encoded again."""
    settings, pictures = parts.settings, is_folder(video)
    keep = len(frame_paths(video)) > settings.part_frames if pictures else may_be_long(video.stat().st_size, settings)
    found, length, done = parts.present_from_start() if pictures or parts.used else 0, sys.maxsize, 0
    with ExitStack() as files:
        writer = files.enter_context(FeatureWriter(target, settings.step))
        for frames in decoder.batches(video, settings.step, settings.batch_size):
            if done == 0 and keep:
                length = part_length(settings, len(frames))
            number, done = done // length, done + len(frames)
            if number < found:
                continue
            writer.append(encoder(frames))
            if done % length == 0:
                writer.describe({})
                files.close()
                parts.publish(number, target, whole=True)
                writer = files.enter_context(FeatureWriter(target, settings.step))
        description = _description(source, decoder.info, settings, pictures)
        if done < length:
            writer.describe(description)
            return done, decoder.info
        if done % length:
            writer.describe({})
    last = target.with_suffix(".last")
    if done % length:
        target.replace(last)
    with FeatureWriter(target, settings.step) as writer:
        for group in _groups(parts, done // length, last):
            writer.append_group(group)
        writer.describe(description)
    return writer.frames, decoder.info


def _groups(parts: VideoParts, count: int, last: Path) -> Iterator[Features]:
    """Yield the row groups of the parts that were kept, and of the last one, if there is one."""
    try:
        for number in range(count):
            yield from parts.features(number, whole=True)
    except (ArrowInvalid, FileNotFoundError) as error:
        parts.remove()
        raise JobError(f"a part in {parts.store.storage.uri(parts.key)} was damaged, and is removed: {error}") from None
    if last.exists():
        with last.open("rb") as file:
            yield from iterate_features(file)


def _description(source: str, info: VideoInfo, settings: ExtractionConfig, of_pictures: bool) -> dict[str, str]:
    """Return the metadata of a video's file."""
    return {
        "video": source,
        "num_frames": str(info.num_frames),
        "fps": str(info.fps),
        "sampling_rate": str(settings.step),
        "decoder": DECODERS[of_pictures],
        "libraries": LIBRARIES,
        **timing_metadata(info.timing or Timing()),
    }
