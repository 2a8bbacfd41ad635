"""Ids of videos that have only a place: short, unique, and safe as file names."""

from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote

from anomalyclip.data.manifest_checks import MAX_ID_BYTES, UNSAFE


def unique_ids(sources: Sequence[str]) -> list[str]:
    """Return an id for each path or URI: the file's name without its suffix.

    Files of one name get as many folders before it as tell them apart, then a number.
    """
    parts = [_parts(source) for source in sources]
    ids, depth = [_id(part, 1) for part in parts], 1
    while (doubled := _doubled(ids, parts)) and depth < max(map(len, parts)):
        depth += 1
        ids = [_id(part, depth) if one in doubled else one for one, part in zip(ids, parts, strict=True)]
    seen, taken = Counter[str](), set(ids)
    for place, one in enumerate(ids):
        seen[one.casefold()] += 1
        number = seen[one.casefold()]
        while number > 1 and f"{one}-{number}" in taken:
            number += 1
        ids[place] = f"{one}-{number}" if number > 1 else one
        taken.add(ids[place])
    return ids


def _parts(source: str) -> list[str]:
    """Return the folders and the name, without suffix, of a path or URI."""
    *folders, name = [part for part in source.partition("://")[2 if "://" in source else 0].split("/") if part] or [""]
    name = unquote(name) if "://" in source else name
    stem, dot, suffix = name.rpartition(".")
    return [*folders, stem if dot and stem and len(suffix) <= 5 else name]


def _id(parts: Sequence[str], depth: int) -> str:
    text = UNSAFE.sub("_", "_".join(parts[-depth:])).encode(errors="replace")[-MAX_ID_BYTES + 10 :]
    return text.decode(errors="ignore").strip(". ") or "video"


def _doubled(ids: Sequence[str], places: Sequence[list[str]]) -> set[str]:
    """Return the ids of more than one place; file systems may not tell upper from lower case."""
    found: dict[str, set[str]] = {}
    for one, parts in zip(ids, places, strict=True):
        found.setdefault(one.casefold(), set()).add("/".join(parts).casefold())
    return {one for one in ids if len(found[one.casefold()]) > 1}
