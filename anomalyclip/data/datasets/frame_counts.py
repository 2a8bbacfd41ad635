"""Comparison of the frame counts of an official list with those of the videos."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import local
from typing import Any

from anomalyclip.data.datasets.matching import Fault
from anomalyclip.data.datasets.media import Kind, Media
from anomalyclip.data.decoder import Decoder
from anomalyclip.data.manifest_checks import past_the_end
from anomalyclip.data.schema import span
from anomalyclip.data.video import DecodeError
from anomalyclip.errors import first_names

# reading headers is waiting, not work
THREADS = 8
VIDEOS_A_THREAD = 50
"""At least: each thread starts a decoder, which takes half a second."""

Row = Mapping[str, Any]
Count = Callable[[Path], int]
Counts = Mapping[str, int | DecodeError]
"""By video_id; feature files and videos that were not opened are missing."""


def counts_of(rows: Sequence[Row], found: Mapping[str, Media], count: Count | None = None) -> Counts:
    """Return the number of frames of each video that was found, or why it cannot be read.

    `count` opens a video; without it, a decoder does.
    """
    ids = [row["video_id"] for row in rows if row["video_id"] in found]
    ids = [video_id for video_id in ids if found[video_id].kind != Kind.FEATURES]
    threads = min(THREADS, 1 + len(ids) // VIDEOS_A_THREAD)
    with _probe_by_thread() as probe, ThreadPoolExecutor(threads) as pool:

        def counted(video_id: str) -> int | DecodeError:
            try:
                return (count or probe)(found[video_id].path)
            except DecodeError as error:
                return error

        return dict(zip(ids, pool.map(counted, ids), strict=True))


@contextmanager
def _probe_by_thread() -> Iterator[Count]:
    """Yield a function that opens videos in a decoder of each thread's own."""
    own, started = local(), list[Decoder]()

    def probe(path: Path) -> int:
        if not hasattr(own, "decoder"):
            own.decoder = Decoder()
            started.append(own.decoder)
        return int(own.decoder.probe(path))

    try:
        yield probe
    finally:
        for decoder in started:
            decoder.close()


def frame_faults(rows: Sequence[Row], counts: Counts, tolerance: int, root: Path) -> Iterator[Fault]:
    """Yield the videos that cannot be read, and those shorter or longer than their list by more than the tolerance."""
    for row in rows:
        frames = counts.get(row["video_id"])
        if isinstance(frames, DecodeError):
            yield Fault("cut or unreadable", f"{row['video_id']} cannot be read: {str(frames).replace(f'{root}/', '')}")
        elif frames is not None:
            yield from _differences(row, frames, tolerance)


def tolerance_notes(rows: Sequence[Row], counts: Counts, tolerance: int) -> Iterator[str]:
    """Yield a note on the videos that differ from their list within the tolerance, if there are any."""
    numbers = {video_id: frames for video_id, frames in counts.items() if isinstance(frames, int)}
    names = [name for row in rows if (name := row["video_id"]) in numbers and any(_differences(row, numbers[name], 0))]
    if names:
        yield (
            f"{len(names)} video(s) differ from the list by at most {tolerance} frame(s), and the manifest keeps the "
            f"list's numbers: add --set data.frame_tolerance={tolerance} to the commands that read it: "
            f"{first_names(names)}"
        )


def _differences(row: Row, frames: int, tolerance: int) -> Iterator[Fault]:
    """Compare a video's own number of frames with the list's, or with its intervals if the list has none."""
    video_id, listed = row["video_id"], row["num_frames"]
    if listed is None:
        for interval in row["anomalies"]:
            if past_the_end(interval, frames, tolerance):
                yield Fault("shorter", f"{video_id} has {frames} frames, too few for its interval {span(interval)}")
    elif frames < listed - tolerance:
        yield Fault("shorter", f"{video_id} has {frames} frames, {listed - frames} fewer than in its list ({listed})")
    elif frames > listed + tolerance:
        yield Fault("longer", f"{video_id} has {frames} frames, {frames - listed} more than in its list ({listed})")
