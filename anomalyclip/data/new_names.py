"""Names of classes that nobody trained, as a user gives them: `--classes "person falling,dog"`."""

import unicodedata
from collections.abc import Iterable, Sequence

from anomalyclip.data.labels import NORMAL
from anomalyclip.errors import UsageError

LONGEST = 100
"""Most characters of a name: a text tower reads a few words."""
MOST = 30
SEPARATORS = "|;:"
"""No label of a manifest holds one."""


def asked_names(text: str | None) -> tuple[str, ...]:
    """Return the names of a list with commas, in its order, none for None; raises UsageError."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if len(names) > MOST:
        raise UsageError(f"--classes has {len(names)} names: give at most {MOST}")
    for name in names:
        if not name:
            raise UsageError(f"--classes {text[:LONGEST]!r}: a name is empty; give names with commas between them")
        if len(name) > LONGEST:
            raise UsageError(f"--classes: {name[:20]}… has {len(name)} characters, a name at most {LONGEST}")
        if not name.isprintable() or any(sign in name for sign in SEPARATORS):
            raise UsageError(f"--classes {name!r}: a name is printable, without the separators {' '.join(SEPARATORS)}")
    refuse_known(names, (NORMAL,))
    return names


def refuse_known(names: Sequence[str], trained: Iterable[str]) -> None:
    """Raise UsageError for a name that is given twice, or is that of a trained class.

    Case does not count, nor how Unicode writes a sign, and `_` is a space: all make the same text, or look as if.
    """
    known = {text_of(name): f"{name} is a class of the model already" for name in trained}
    for name in names:
        if (text := text_of(name)) in known:
            raise UsageError(f"--classes {name}: {known[text]}; leave it out")
        known[text] = "it is given twice"


def text_of(name: str) -> str:
    """Return what is compared of a name: its words, without case."""
    return " ".join(unicodedata.normalize("NFKC", name).replace("_", " ").casefold().split())
