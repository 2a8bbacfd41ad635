"""A stand-in for the authors' released checkpoint, put together from the golden files."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
NORMAL = 7
TINY = "golden-tiny-quickgelu"
"""The open_clip architecture of the golden towers."""
Files = tuple[Path, Path, Path]
MakeFiles = Callable[..., Files]


@functools.cache
def golden(name: str) -> dict[str, Any]:
    """Load one golden file, which is not to be changed; strings stay NumPy arrays."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: value if value.dtype.kind == "U" else torch.from_numpy(value) for key, value in file.items()}


def golden_classes() -> list[str]:
    return [str(name) for name in golden("01_tokens")["ucf_classnames"]]


def golden_state(image_tower: bool = True, token_table: bool = False) -> dict[str, Tensor]:
    """A checkpoint's `state_dict`, below `net.`."""
    text, prompts, case = (
        dict(golden("02_tiny_clip_text_state")),
        golden("03_text_features"),
        golden("08_eval_d1concat"),
    )
    table, tokens = text.pop("token_embedding.weight"), prompts["tokens"].long()
    text.pop("logit_scale")
    state = {
        "prompt_learner.ctx": prompts["ctx"],
        "prompt_learner.token_prefix": table[tokens[:, :1]],
        "prompt_learner.token_suffix": table[tokens[:, 9:]],
        **{f"text_encoder.{name}": value for name, value in text.items()},
        "selector_model.bn_layer.running_mean": case["bn_running_mean"],
        "selector_model.bn_layer.running_var": case["bn_running_var"],
        "selector_model.bn_layer.num_batches_tracked": torch.tensor(6),
        **golden("06_state_d1concat"),
    }
    if image_tower:
        visual = golden("02b_tiny_clip_visual")
        state |= {name.replace("visual.", "image_encoder."): visual[name] for name in visual if "visual." in name}
    if token_table:
        state |= {"token_embedding.weight": table, "selector_model.logit_scale": torch.tensor(1.0)}
    return {f"net.{name}": value for name, value in state.items()}


def write_files(
    folder: Path, state: dict[str, Tensor] | None = None, centroid: Any = None, labels: str | None = None, **more: Any
) -> Files:
    """Write checkpoint, centroid and labels; `more` is what the checkpoint holds beside its `state_dict`."""
    checkpoint, prototype, names = folder / "last.ckpt", folder / "ncentroid.pt", folder / "ucf_labels.csv"
    torch.save({"epoch": 49, "state_dict": golden_state() if state is None else state, **more}, checkpoint)
    torch.save(golden("08_eval_d1concat")["ncentroid"] if centroid is None else centroid, prototype)
    usual = "id,name\n" + "".join(f"{index},{name}\n" for index, name in enumerate(golden_classes()))
    names.write_bytes((usual if labels is None else labels).encode())
    return checkpoint, prototype, names


def add_tiny_architecture(folder: Path) -> str:
    """Let open_clip know the architecture of the golden towers; returns its name."""
    config = {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
    }
    (folder / f"{TINY}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{TINY}.json")
    return TINY
