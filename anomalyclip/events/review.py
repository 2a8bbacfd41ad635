"""From verdicts on a video's events to parts of it that a training can use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anomalyclip.events.verdicts import Verdict

CONTEXT_SECONDS = 60.0
"""Of video kept before and after a true event: like any training video, it says that an event is there, not where."""


@dataclass(frozen=True)
class Part:
    """A run of frames of a video with its classes, none if it is normal; both frames are inclusive."""

    first: int
    last: int
    labels: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    """Those that made it."""

    def covers(self, frames: int) -> bool:
        """Whether it is the whole of a video of so many frames."""
        return self.first == 0 and self.last == frames - 1


def parts_of(verdicts: Sequence[Verdict], frames: int) -> list[Part]:
    """Return the parts of a video of so many frames, given the verdicts that count on its events.

    A true event gives a labelled part with its context; such parts that touch are one. A false one gives a normal part
    of exactly its frames, which are certain, unless a true event overlaps it. Unsure gives nothing.
    """
    true = [verdict for verdict in verdicts if verdict.verdict == "true"]
    false = [verdict for verdict in verdicts if verdict.verdict == "false"]
    certain = [verdict for verdict in false if not any(_overlap(verdict, event) for event in true)]
    return [*_merged(map(_with_context, true), frames), *_merged(map(_alone, certain), frames)]


def _with_context(verdict: Verdict) -> Part:
    more = round(CONTEXT_SECONDS * verdict.fps)
    return Part(verdict.start_frame - more, verdict.end_frame + more, (verdict.right_label,), (verdict,))


def _alone(verdict: Verdict) -> Part:
    return Part(verdict.start_frame, verdict.end_frame, (), (verdict,))


def _merged(parts: Iterable[Part], frames: int) -> list[Part]:
    """Return parts cut to the video, those that touch as one, with all of their classes."""
    merged: list[Part] = []
    for part in sorted(parts, key=lambda part: part.first):
        first, last = max(0, part.first), min(part.last, frames - 1)
        if merged and first <= merged[-1].last + 1:
            before = merged.pop()
            labels = tuple(dict.fromkeys([*before.labels, *part.labels]))
            part = Part(before.first, max(before.last, last), labels, (*before.verdicts, *part.verdicts))
            merged.append(part)
        elif first <= last:
            merged.append(Part(first, last, part.labels, part.verdicts))
    return merged


def _overlap(one: Verdict, other: Verdict) -> bool:
    return one.start_frame <= other.end_frame and other.start_frame <= one.end_frame
