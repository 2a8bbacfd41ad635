"""Thread that writes clips and pictures, so that neither a slow disk nor decoding a second time delays a frame."""

import threading
import time
from contextlib import suppress
from pathlib import Path

from anomalyclip.config import LiveConfig
from anomalyclip.data.orientation import Orientation
from anomalyclip.live.cameras.clips import Clip
from anomalyclip.live.cameras.packets import PacketRing
from anomalyclip.live.cameras.pictures import write_picture

PAUSE = 0.1
"""Seconds between two looks for packets, while a clip is open."""
PICTURE_WAIT = 2.0
"""Seconds to wait for the frame of a picture that has not come yet."""
FAILURES = (Exception,)  # of a codec, a container or a disk: one clip is lost, not the camera


class Recorder:
    """Writes what is asked of it from a ring; what is done, or cannot be, is told by `done`."""

    def __init__(self, ring: PacketRing, settings: LiveConfig, max_pixels: int) -> None:
        self.orientation = Orientation()
        self._ring, self._settings, self._max_pixels = ring, settings, max_pixels
        self._clips = dict[str, Clip]()
        self._pictures = list[tuple[float, Path]]()
        self._done = list[Path]()
        self._asked = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def record(self, event_id: str, start: float, target: Path) -> None:
        """Begin an event's clip."""
        settings = self._settings
        with self._asked:
            self._clips[event_id] = Clip(target, start - settings.clip_before, settings.clip_longest)
            self._asked.notify()

    def finish(self, event_id: str, end: float) -> None:
        """Let an event's clip end."""
        with self._asked:
            if (clip := self._clips.get(event_id)) is not None:
                clip.end = min(clip.end, end + self._settings.clip_after)
            self._asked.notify()

    def picture(self, moment: float, target: Path) -> None:
        """Make a picture of a moment."""
        with self._asked:
            self._pictures.append((moment, target))
            self._asked.notify()

    def done(self) -> list[Path]:
        """Return the targets that are done, or were given up, since the last call."""
        with self._asked:
            done, self._done = self._done, []
            return done

    def close(self, seconds: float) -> None:
        """Complete everything with what is there, within some seconds."""
        with self._asked:
            self._closing = True
            self._asked.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._asked:
                if not self._closing:
                    self._asked.wait(PAUSE if self._clips or self._pictures else None)
                closing = self._closing
                clips, pictures = dict(self._clips), list(self._pictures)
            for moment, target in pictures:
                if closing or self._newest() >= moment or time.time() > moment + PICTURE_WAIT:
                    self._take_picture(moment, target)
            for event_id, clip in clips.items():
                if self._catch_up(clip, closing):
                    self._end(event_id, clip)

    def _newest(self) -> float:
        newest = self._ring.newest
        return newest.time if newest else 0.0

    def _take_picture(self, moment: float, target: Path) -> None:
        with suppress(*FAILURES):
            write_picture(self._ring, moment, self.orientation, self._max_pixels, target)
        with self._asked:
            self._pictures.remove((moment, target))
            self._done.append(target)

    def _catch_up(self, clip: Clip, closing: bool) -> bool:
        try:
            return clip.catch_up(self._ring, time.time()) or closing
        except FAILURES:
            return True

    def _end(self, event_id: str, clip: Clip) -> None:
        try:
            clip.finish()
        except FAILURES:
            clip.give_up()
        with self._asked:
            del self._clips[event_id]
            self._done.append(clip.target)
