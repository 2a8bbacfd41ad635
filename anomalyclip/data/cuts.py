"""Cuts of a video: parts of it as files of their own."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from anomalyclip.data.video import TimedFrame
from anomalyclip.data.video_writer import VideoWriter, video_writer

Inside = Callable[[int, float], bool]
"""Whether a frame, by its 0-based number and its seconds, is in a cut, which is one run of frames."""


def cut(frames: Iterable[TimedFrame], cuts: Mapping[Path, Inside]) -> list[Path]:
    """Write parts of a video as H.264 files without sound, and return those that hold a frame.

    Frames are taken up to the end of the last cut. If they raise DecodeError, only cuts that are whole are left.
    """
    waiting, writers, ended = dict(cuts), dict[Path, tuple[ExitStack, VideoWriter, float]](), list[Path]()
    with ExitStack() as unfinished:
        for index, frame in enumerate(frames):
            for path in [path for path, inside in waiting.items() if inside(index, frame.seconds)]:
                del waiting[path]
                stack = unfinished.enter_context(ExitStack())  # publishes its cut when closed, drops it on an error
                writers[path] = stack, stack.enter_context(video_writer(path)), frame.seconds
            for path in [path for path in writers if not cuts[path](index, frame.seconds)]:
                writers.pop(path)[0].close()
                ended.append(path)
            if not waiting and not writers:
                break
            if writers:
                pixels = frame.pixels()
                for _, writer, start in writers.values():
                    writer.write(pixels, frame.seconds - start)
    return [path for path in cuts if path in ended or path in writers]
