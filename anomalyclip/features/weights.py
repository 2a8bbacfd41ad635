"""Weights of a CLIP: from a file or from open_clip's hub into a model."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anomalyclip.errors import JobError, UsageError
from anomalyclip.features import torchvision_fix  # noqa: F401 - before open_clip, which imports torchvision
from anomalyclip.features.torchscript import read_state

# isort: split
from open_clip import download_pretrained
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict

OPENAI_KEYS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries in OpenAI's files that are not tensors of the model."""

EMBEDDED = Path(__file__).parent / "open_clip_weights"
"""Weights of this package's architectures, `<architecture>.safetensors`, from `workflows/pretrain_backbone.py`."""

NAMED_FAULTS = 3


def read_weights(path: Path) -> tuple[dict[str, Tensor], bool]:
    """Return a weight file's tensors by name, and whether the file is recognisably OpenAI's own.

    Reads safetensors, torch state dicts (also as part of a training checkpoint) and OpenAI's TorchScript archives;
    nothing of a file runs. Raises UsageError for a file that is missing or none of these.
    """
    if not path.is_file():
        raise UsageError(f"weight file {path} does not exist")
    try:
        archive = _is_torchscript(path)
        content = _read(path, archive)
    except Exception as error:  # unpicklers may raise any error
        raise UsageError(f"weight file {path} cannot be read: {torch_reason(error)}") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UsageError(f"weight file {path} holds no state dict")
    from_openai = archive or not OPENAI_KEYS.isdisjoint(content)
    tensors = {name.removeprefix("module."): value for name, value in content.items() if name not in OPENAI_KEYS}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UsageError(f"weight file {path} holds no state dict")
    return tensors, from_openai


def torch_reason(error: Exception) -> str:
    """Return why torch did not read a file, in one line, without its advice how to run what is in it."""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return "it holds more than tensors and plain values" if "weights" in reason.lower() else reason


def embedded_file(name: str) -> Path:
    """Return the weight file of an architecture in this package; raises UsageError if there is none."""
    path = EMBEDDED / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in EMBEDDED.glob("*.safetensors"))) or "none yet"
        raise UsageError(
            f"architecture {name} has no embedded weights; those that have: {known}; set backbone.weights to a tag of "
            "open_clip, such as openai, or to a file"
        )
    return path


def write_weights(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model's weights as safetensors in half precision; the file appears only when it is complete."""
    tensors = {
        name: value.detach().to(torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file(tensors, partial, dict(metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def hub_file(published: Mapping[str, Any], label: str, offline: bool) -> Path:
    """Return the local file of weights published with open_clip, downloading it unless `offline`.

    Raises UsageError if it is not on this machine and may not be downloaded, JobError if the download fails.
    """
    if offline:
        cached = next(_cached(published), None)
        if cached is None:
            raise UsageError(
                f"weights {label} were never downloaded and backbone.offline is set: "
                "give a weight file, or load them once without it"
            )
        return cached
    try:
        return Path(download_pretrained(dict(published)))
    except Exception as error:  # the hub's client has no common error
        reason = " ".join(str(error).split())[:300]
        raise JobError(f"weights {label} could not be downloaded: {reason}") from None


def fit_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str, name: str) -> None:
    """Copy tensors into a model; raises UsageError that names the first ones that do not fit."""
    state: dict[str, Tensor] = convert_state_dict(model, dict(tensors))
    if hasattr(model, "text"):
        state = convert_to_custom_text_state_dict(state)
    expected = model.state_dict()
    for key in ("logit_scale", "logit_bias"):  # a number each, which files lack or hold in another shape
        given = state.pop(key, None)
        if key in expected:
            shape = expected[key].shape
            state[key] = expected[key] if given is None or given.numel() != 1 else given.reshape(shape)
    misshapen = [
        f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": misshapen,
    }
    if any(faults.values()):
        described = "; ".join(f"{kind}: {_first(items)}" for kind, items in faults.items() if items)
        raise UsageError(f"{source} does not fit architecture {name}: {described}")
    model.load_state_dict(state)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read(path: Path, archive: bool) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if archive:
        return read_state(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _cached(published: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that `download_pretrained` would find without a network, in its order."""
    repository, _, filename = published["hf_hub"].rpartition("/")
    filename = filename or HF_WEIGHTS_NAME
    safe = HF_SAFE_WEIGHTS_NAME if filename == HF_WEIGHTS_NAME else f"{filename[:-4]}.safetensors"
    for candidate in (safe, filename):
        found = try_to_load_from_cache(repository, candidate)
        if isinstance(found, str):
            yield Path(found)


def _first(items: list[str]) -> str:
    more = len(items) - NAMED_FAULTS
    return ", ".join(items[:NAMED_FAULTS]) + (f" and {more} more" if more > 0 else "")
