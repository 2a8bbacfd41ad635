"""The frozen CLIP: built by name, filled with weights, stored once by content."""

import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from anomalyclip.config import BackboneConfig
from anomalyclip.errors import UsageError
from anomalyclip.features import torchvision_fix  # noqa: F401 - before open_clip, which imports torchvision
from anomalyclip.features.preprocess import Preprocess
from anomalyclip.features.weights import embedded_file, fit_weights, hub_file, read_weights
from anomalyclip.storage import Storage, scratch

# isort: split
import open_clip
from open_clip.tokenizer import HFTokenizer

logger = logging.getLogger("anomalyclip")

Tokenizer = Callable[[list[str]], Tensor]
"""Texts to token ids (texts, context length), int64."""

RANDOM_SEED = 0

OWN_PREPROCESS: Mapping[str, Mapping[str, Any]] = {"clip-tiny": {"resize_mode": "squash"}}
"""How the architectures of this package differ from open_clip's defaults: 4:3 pictures keep their edges."""

open_clip.add_model_config(Path(__file__).parent / "open_clip_configs")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A CLIP in evaluation mode, without gradients, float32 on the CPU."""

    name: str
    """Its open_clip architecture, after any correction to QuickGELU."""
    architecture: Mapping[str, Any]
    """open_clip's model config."""
    model: nn.Module
    tokenizer: Tokenizer
    preprocess: Preprocess
    identity: str
    """Hash of the image tower, architecture and weights; library versions play no part."""

    @property
    def dim(self) -> int:
        """Size of an image feature, which is that of a text feature too."""
        return int(self.architecture["embed_dim"])


def load_backbone(config: BackboneConfig) -> Backbone:
    """Return the architecture with random weights, or those of this package, of a file, or published ones.

    For weights trained with QuickGELU, such as OpenAI's, an architecture that computes GELU is replaced by the
    `-quickgelu` one, with a warning. Raises UsageError for an unknown architecture or tag and for a file
    that is missing, unreadable or does not fit, JobError if a download fails.
    """
    name = _known(config.name)
    if config.weights == "random":
        logger.warning("backbone %s has random weights: accuracies mean nothing", name)
        return _assemble(name, name, _create(name, _usual_preprocess(name)), config.offline)
    published: Mapping[str, Any] = open_clip.get_pretrained_cfg(name, config.weights)
    if published:
        source = f"tag {config.weights} of {name}"
        tensors, _ = read_weights(hub_file(published, source, config.offline))
        quick_gelu, preprocess = bool(published.get("quick_gelu")), published
    else:
        source = f"weight file {config.weights}"
        tensors, quick_gelu = read_weights(_weight_file(config.weights, name))
        preprocess = _usual_preprocess(name)
    if quick_gelu:
        name = with_quick_gelu(name, source)
    model = _create(name, preprocess)
    fit_weights(model, tensors, source, name)
    return _assemble(name, name, model, config.offline)


def new_backbone(name: str, seed: int = RANDOM_SEED) -> Backbone:
    """Return an architecture with random weights; raises UsageError if it is unknown or cannot be built here."""
    name = _known(name)
    return _assemble(name, name, _create(name, _usual_preprocess(name), seed))


def save_backbone(backbone: Backbone, storage: Storage) -> None:
    """Store a backbone under `backbones/<identity>` in open_clip's `local-dir:` layout, once.

    Raises UsageError if that image tower is already stored with another text tower or preprocessing.
    """
    key = _key(backbone.identity)
    description: dict[str, Any] = {
        "name": backbone.name,
        "model_cfg": backbone.architecture,
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(backbone.model),
    }
    whole = {"model_cfg": backbone.architecture, "preprocess_cfg": asdict(backbone.preprocess)}
    description["digest"] = _digest(whole, backbone.model.state_dict())
    if storage.is_complete(key):
        stored = storage.read_json(f"{key}/open_clip_config.json")
        if stored["digest"] != description["digest"]:
            raise UsageError(
                f"{storage.uri(key)} holds the image tower of {backbone.name} with another text tower or "
                "preprocessing; use another storage root"
            )
        return
    with TemporaryDirectory(dir=scratch()) as folder:
        tensors = {name: value.contiguous() for name, value in backbone.model.state_dict().items()}
        save_file(tensors, Path(folder) / "open_clip_model.safetensors")
        (Path(folder) / "open_clip_config.json").write_text(json.dumps(description, indent=2))
        storage.publish_folder(Path(folder), key)


def load_stored_backbone(storage: Storage, identity: str) -> Backbone:
    """Return a backbone stored by `save_backbone`; raises UsageError if it is not there or damaged."""
    key = _key(identity)
    if not storage.is_complete(key):
        raise UsageError(f"backbone {identity} is not in {storage.root}: use the root it was stored in")
    with storage.local(key) as folder:
        try:
            name = json.loads((folder / "open_clip_config.json").read_text())["name"]
            backbone = _assemble(f"local-dir:{folder}", name, _create(f"local-dir:{folder}"))
        except UsageError:
            raise
        except Exception as error:  # JSON, safetensors or open_clip may fail on damaged files
            raise UsageError(f"{storage.uri(key)} is damaged: {' '.join(str(error).split())[:200]}") from None
    if backbone.identity != identity:
        raise UsageError(f"{storage.uri(key)} is damaged: its content is {backbone.identity}")
    return backbone


def with_quick_gelu(name: str, source: str) -> str:
    """Return the architecture itself if it computes QuickGELU, else its `-quickgelu` twin, with a warning.

    Raises UsageError if the architecture is unknown or has no such twin.
    """
    if open_clip.get_model_config(_known(name)).get("quick_gelu"):
        return name
    twin = f"{name}-quickgelu"
    if twin not in open_clip.list_models():
        raise UsageError(f"{source} was trained with QuickGELU, which architecture {name} does not compute")
    logger.warning("%s was trained with QuickGELU: using %s instead of %s", source, twin, name)
    return twin


def image_identity(architecture: Mapping[str, Any], model: nn.Module) -> str:
    """Return the hash of a model's image tower: architecture (open_clip's model config) and weights."""
    decisive = {
        "embed_dim": architecture["embed_dim"],
        "vision_cfg": architecture["vision_cfg"],
        "quick_gelu": architecture.get("quick_gelu", False),
    }
    return _digest(decisive, model.get_submodule("visual").state_dict())


def _known(name: str) -> str:
    known: list[str] = open_clip.list_models()
    if name in known:
        return name
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    raise UsageError(f"unknown architecture {name}; nearest in open_clip: {', '.join(nearest)}")


def _weight_file(weights: str, name: str) -> Path:
    if weights == "embedded":
        return embedded_file(name)
    file = Path(weights).expanduser()
    if file.is_file() or file.suffix or len(file.parts) > 1:
        return file
    tags = open_clip.list_pretrained_tags_by_model(name)
    published = f"its tags are {', '.join(tags)}" if tags else "it has no published weights"
    raise UsageError(f"weights {weights} of {name} are neither a file nor a published tag; {published}")


def _usual_preprocess(name: str) -> Mapping[str, Any]:
    """Return the preprocessing that all published weights of an architecture share: a file does not contain it."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    published = [open_clip.get_pretrained_cfg(name, tag) for tag in tags] or [OWN_PREPROCESS.get(name, {})]
    first, *others = published
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _create(source: str, preprocess: Mapping[str, Any] | None = None, seed: int = RANDOM_SEED) -> nn.Module:
    """Build a model: stored weights for `local-dir:`, else seeded ones; the caller's random state stays."""
    with torch.random.fork_rng(devices=[]), _without_root_logging():
        torch.default_generator.manual_seed(seed)
        try:
            model: nn.Module = open_clip.create_model(
                source, force_preprocess_cfg=dict(preprocess or {}), pretrained_text=False
            )
        except (RuntimeError, ImportError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"architecture {source} cannot be built here: {reason}") from None
    return model.eval().requires_grad_(False)


def _assemble(source: str, name: str, model: nn.Module, offline: bool = False) -> Backbone:
    architecture = open_clip.get_model_config(source)
    return Backbone(
        name=name,
        architecture=architecture,
        model=model,
        tokenizer=_tokenizer(architecture, source, name, offline),
        preprocess=Preprocess.from_open_clip(open_clip.get_model_preprocess_cfg(model)),
        identity=image_identity(architecture, model),
    )


def _tokenizer(architecture: Mapping[str, Any], source: str, name: str, offline: bool) -> Tokenizer:
    text = architecture["text_cfg"]
    if "hf_tokenizer_name" in text:
        return _HubTokenizer(text, name, offline)
    return cast(Tokenizer, open_clip.get_tokenizer(source))


class _HubTokenizer:
    """A tokenizer of the Hugging Face hub, fetched when it first reads a text: image features need none."""

    def __init__(self, text: Mapping[str, Any], name: str, offline: bool) -> None:
        self._text, self._name, self._offline = text, name, offline
        self._fetched: Tokenizer | None = None

    def __call__(self, texts: list[str]) -> Tensor:
        self._fetched = self._fetched or self._fetch()
        return self._fetched(texts)

    def _fetch(self) -> Tokenizer:
        try:
            return HFTokenizer(
                self._text["hf_tokenizer_name"],
                context_length=self._text.get("context_length", 77),
                tokenizer_mode=self._text.get("tokenizer_mode"),
                local_files_only=self._offline,
                **self._text.get("tokenizer_kwargs", {}),
            )
        except Exception as error:  # of transformers, the hub or the network
            reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"backbone {self._name} has no tokenizer here: {reason}; it comes from the Hugging Face hub by the package "
            "transformers: fetch it once, or train without texts (model.directions=free model.zero_shot=false)"
        )


def _digest(architecture: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        content.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        content.update(np.ascontiguousarray(value.detach().cpu().numpy()).data)
    return content.hexdigest()[:32]


def _key(identity: str) -> str:
    return f"backbones/{identity}"


@contextmanager
def _without_root_logging() -> Iterator[None]:
    """Keep open_clip from logging to the root logger, which would also install a handler there."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def refuse(record: logging.LogRecord) -> bool:
        return False

    root.addHandler(handler)
    root.addFilter(refuse)
    try:
        yield
    finally:
        root.removeFilter(refuse)
        root.removeHandler(handler)
