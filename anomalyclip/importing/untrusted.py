"""Torch files of strangers: tensors and plain values come out, and nothing of the file runs."""

import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # pickles have Python 2's names of the library's modules
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from anomalyclip.errors import UsageError
from anomalyclip.features.weights import torch_reason

_PLAIN_MODULES = frozenset({"argparse", "collections", "datetime", "decimal", "enum", "pathlib", "types", "typing"})
_PLAIN_NAMES = frozenset({"copyreg._reconstructor", "functools.partial", "inspect._empty"}) | {
    f"builtins.{kind.__name__}" for kind in (bool, bytes, dict, float, frozenset, int, list, object, slice, str, tuple)
}
"""Types of Python's own library that settings consist of; a checkpoint needs no others."""


class Inert:
    """Stands in for a foreign object of a file: accepts any arguments and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Inert":
        """Return an empty object."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Ignore the arguments of the object's own class."""

    def __setstate__(self, _: Any) -> None:
        """Ignore the object's state."""


def read_untrusted(path: Path) -> Any:
    """Return what `torch.save` wrote, on the CPU, by torch's weights-only unpickler.

    An object of a foreign class (settings of OmegaConf, a partial optimiser) comes out as `Inert`: its class is never
    imported. Raises UsageError for a file that is missing or damaged, and for one that names functions or classes of
    Python's library that settings have no need of, such as `os.system`; they are not called.
    """
    if not path.is_file():
        raise UsageError(f"file {path} does not exist")
    try:
        damaged = _damaged_entry(path)
        foreign = [] if damaged else sorted(get_unsafe_globals_in_checkpoint(str(path)))
        if refused := [name for name in foreign if not may_stand_in(name)]:
            raise UsageError(f"file {path} would run {', '.join(refused[:5])}: refused, nothing of it ran")
        if not damaged:
            with safe_globals([(Inert, name) for name in foreign]):
                return torch.load(path, map_location="cpu", weights_only=True)
        reason = f"{damaged} does not match its checksum"
    except UsageError:
        raise
    except Exception as error:  # unpicklers raise whatever the bytes lead them to
        reason = torch_reason(error)
    raise UsageError(f"file {path} is damaged, or was not written by torch.save: {reason}")


def may_stand_in(name: str) -> bool:
    """Whether `module.name` may be replaced by an inert object: foreign classes, and plain ones of Python's library."""
    module, _, attribute = name.rpartition(".")
    module, attribute = NAME_MAPPING.get((module, attribute), (IMPORT_MAPPING.get(module, module), attribute))
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return True
    return module in _PLAIN_MODULES or f"{module}.{attribute}" in _PLAIN_NAMES


def _damaged_entry(path: Path) -> str | None:
    """Return the first entry of an archive whose bytes have changed, which torch does not notice."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()
