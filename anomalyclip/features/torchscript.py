"""State of a TorchScript archive, read as data: nothing of the archive is compiled or run.

`torch.jit.load` runs what an archive defines, such as `__setstate__`. An archive is a zip: `data.pkl` has the modules
with their attributes, `data/` the numbers of the tensors, `code/` the source, which names the parameters and buffers.
"""

import ast
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

STATE_NAMES = ("__parameters__", "__buffers__")
DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
"""Numbers by the names of their storages in a pickle."""
MOST_BYTES = 2**26
"""Largest source or pickle that is read, in bytes; OpenAI's have less than a tenth of it."""


class _Module:
    """Stands in for a module of the archive, and keeps its attributes."""

    kind = ""

    def __setstate__(self, state: Any) -> None:
        self.attributes: Mapping[str, Any] = state if isinstance(state, dict) else {}


class _Unpickler(pickle.Unpickler):
    """Builds modules without their classes; a name that modules have no need of is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(BytesIO(_read(archive, f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._storages: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name of the pickle; raises UnpicklingError for one that is not known."""
        if module.partition(".")[0] == "__torch__":
            return type("Module", (_Module,), {"kind": f"{module}.{name}"})
        if module == "torch.jit._pickle":
            return lambda *values: values[0] if values else None
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
        }
        if f"{module}.{name}" in known:
            return known[f"{module}.{name}"]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which a module has no need of")

    def persistent_load(self, pid: Any) -> Any:
        """Return the numbers of a tensor, those of one key once, for tensors may share them."""
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            data = bytearray(_numbers(self._archive, f"{self._root}/data/{key}"))
            numbers = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self._storages[key] = torch.storage.TypedStorage(
                wrap_storage=numbers.untyped_storage(), dtype=dtype, _internal=True
            )
        return self._storages[key]


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of an archive by name, as its `state_dict` has them.

    Raises what zipfile, pickle and torch raise for an archive that is damaged or not one of modules alone.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).partition("/")[0]
        module = _Unpickler(archive, root).load()
        names = dict(_state_names(archive, f"{root}/code/"))
    return dict(_tensors(module, names, ""))


def _tensors(module: Any, names: Mapping[str, frozenset[str]], prefix: str) -> Iterator[tuple[str, Tensor]]:
    own = names.get(module.kind, frozenset[str]())
    for name, value in module.attributes.items():
        if isinstance(value, Tensor) and name in own:
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, names, f"{prefix}{name}.")


def _state_names(archive: zipfile.ZipFile, code: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each class of the archive's source with the names of its parameters and buffers; it is parsed, not run."""
    for entry in archive.namelist():
        if entry.startswith(code) and entry.endswith(".py"):
            module = ".".join(PurePosixPath(entry.removeprefix(code)).with_suffix("").parts)
            for found in ast.parse(_read(archive, entry)).body:
                if isinstance(found, ast.ClassDef):
                    yield f"{module}.{found.name}", frozenset(_listed(found))


def _listed(found: ast.ClassDef) -> Iterator[str]:
    for line in found.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id in STATE_NAMES:
            yield from (str(name) for name in ast.literal_eval(line.value))


def _read(archive: zipfile.ZipFile, entry: str) -> bytes:
    """Return a source or a pickle."""
    if (size := archive.getinfo(entry).file_size) > MOST_BYTES:
        raise ValueError(f"{entry} has {size} bytes, more than a module needs")
    return archive.read(entry)


def _numbers(archive: zipfile.ZipFile, entry: str) -> bytes:
    if archive.getinfo(entry).compress_type != zipfile.ZIP_STORED:  # torch compresses sources only: a bomb would
        raise ValueError(f"{entry} is compressed, which torch.jit.save never does")
    return archive.read(entry)
