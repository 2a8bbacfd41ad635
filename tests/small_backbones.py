"""Backbones of open_clip by their own names, sizes of pictures and preprocessing, with one layer instead of many."""

import re
from typing import Any
from zlib import crc32

import open_clip
import pytest
import timm
import torch
from open_clip import factory
from torch import Tensor

FEW = {"context_length", "hf_tokenizer_name", "tokenizer_kwargs", "no_causal_mask", "proj_bias", "proj_type"}
FEW |= {"pool_type", "eos_id", "norm_kwargs", "act_kwargs", "embed_cls", "output_tokens"}
WIDTH, WORDS = 32, 500


def shrink(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip build an architecture with one layer per tower and a narrow text tower; the rest stays its own."""
    config = open_clip.get_model_config(name)
    text = {key: value for key, value in config["text_cfg"].items() if key in FEW}
    has_words = "hf_tokenizer_name" not in text
    text |= {"width": WIDTH, "heads": 2, "layers": 1, "vocab_size": 49408 if has_words else WORDS}
    image = config["vision_cfg"]
    if "timm_model_name" not in image:
        image |= {"layers": 1, "width": 2 * WIDTH, "head_width": WIDTH}
    # SigLIP's image tower ends without a projection, and so does one of its text towers
    dim = 2 * WIDTH if image.get("timm_proj") == "none" else 48
    if text.get("proj_type") == "none":
        text["width"] = dim
    if "multimodal_cfg" in config:
        config["multimodal_cfg"]["layers"] = 1
    monkeypatch.setitem(factory._MODEL_CONFIGS, name, {**config, "embed_dim": dim, "text_cfg": text})
    create = timm.create_model

    def small(timm_name: str, **options: Any) -> torch.nn.Module:
        return create(timm_name, **options, **_one_layer(timm_name))

    monkeypatch.setattr(timm, "create_model", small)


def _one_layer(timm_name: str) -> dict[str, Any]:
    if not timm_name.startswith("fastvit"):
        hybrid = "_mci_" in timm_name  # its stem has the width of the tower
        return {"depth": 1} if hybrid else {"depth": 1, "embed_dim": 2 * WIDTH, "num_heads": 2}
    stages = 5 if timm_name.endswith(("mci3", "mci4")) else 4
    return {"layers": (1,) * stages, "embed_dims": tuple(16 * 2**stage for stage in range(stages))}


class WordTokenizer:
    """Stands for a tokenizer that is fetched from the hub: an id per word, in the layout of the given family."""

    def __init__(self, window: int, start: tuple[int, ...], end: int, padding: int) -> None:
        self.window, self.start, self.end, self.padding = window, start, end, padding

    def __call__(self, texts: list[str]) -> Tensor:
        rows = [[crc32(word.encode()) % (WORDS - 10) + 10 for word in re.findall(r"\w+", text)] for text in texts]
        whole = [[*[*self.start, *row][: self.window - 1], self.end] for row in rows]
        return torch.tensor([row + [self.padding] * (self.window - len(row)) for row in whole])
