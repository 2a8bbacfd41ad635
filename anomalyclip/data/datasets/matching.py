"""Matching of an official list with the videos in a folder: each must be found once, and no others."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from anomalyclip.data.datasets.media import Media

MISSING = "missing"
"""Kind of a fault: a listed video that is not there."""


class Fault(NamedTuple):
    """Something wrong with a tree."""

    kind: str
    """One or a few words; the message counts the faults of each kind."""
    text: str
    """One line that names the video or its place."""


class Match(NamedTuple):
    """The listed videos that are in a folder."""

    found: dict[str, Media]
    """The media of each listed video that was found, by its id."""
    faults: list[Fault]
    notes: list[str]


Places = Mapping[str, list[Media]]


def match(homes: Mapping[str, Collection[str]], copies: Collection[str], media: Iterable[Media], root: Path) -> Match:
    """Find the videos of a list by name, anywhere below `root`.

    `homes` are the listed ids, each with the names of its official folders: of several videos with one name, the one
    in such a folder is taken. Folders named in `copies` hold copies of other videos: these are taken only if there is
    no other, and ignored if they are in no list.
    """
    places = defaultdict[str, list[Media]](list)
    for one in media:
        places[one.name].append(one)
    chosen = {name: _chosen(places.get(name, []), home, copies) for name, home in homes.items()}
    found = {name: candidates[0] for name, candidates in chosen.items() if len(candidates) == 1}
    unlisted = {name.casefold(): name for name in places if name not in homes}
    misspelt = {name: unlisted[name.casefold()] for name in homes if not chosen[name] and name.casefold() in unlisted}
    extra = [one for name in sorted({*unlisted.values()} - {*misspelt.values()}) for one in places[name]]
    faults = [
        *(Fault(MISSING, f"{name} is missing") for name in homes if not chosen[name] and name not in misspelt),
        *_misspelt(misspelt, places, root),
        *(Fault("there twice", f"{name} is there as {_below(root, all_of)}: remove all but one")
          for name, all_of in chosen.items() if len(all_of) > 1),
        *(Fault("in no list", f"{_below(root, [one])} is in no list: remove it")
          for one in extra if not _lies_in(one, copies)),
    ]  # fmt: skip
    return Match(found, faults, [*_doubled(found, places, root), *_passed_over(extra, copies, root)])


def _chosen(candidates: list[Media], home: Collection[str], copies: Collection[str]) -> list[Media]:
    """Return the media of one name that count: in the official folders, else those that are no copies, else all."""
    official = [one for one in candidates if _lies_in(one, home)]
    return official or [one for one in candidates if not _lies_in(one, copies)] or candidates


def _misspelt(names: Mapping[str, str], places: Places, root: Path) -> Iterator[Fault]:
    for name, other in names.items():
        yield Fault("in other case", f"{name} is there in other case, as {_below(root, places[other])}: rename it")


def _doubled(found: Mapping[str, Media], places: Places, root: Path) -> Iterator[str]:
    if taken := [one for name, one in found.items() if len(places[name]) > 1]:
        yield f"{len(taken)} video(s) are there more than once, taken: {_below(root, taken)}"


def _passed_over(extra: Iterable[Media], copies: Collection[str], root: Path) -> Iterator[str]:
    if outside := [one for one in extra if _lies_in(one, copies)]:
        yield f"{len(outside)} video(s) are in no list, ignored: {_below(root, outside)}"


def _lies_in(media: Media, folders: Collection[str]) -> bool:
    return media.path.parent.name in folders


def _below(root: Path, media: Iterable[Media]) -> str:
    return ", ".join(one.path.relative_to(root).as_posix() for one in media)
