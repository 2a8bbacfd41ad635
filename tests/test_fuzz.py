"""Whatever a file holds, its reader returns a value or raises one of the errors that a command reports in one line."""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ArrowInvalid
from safetensors.torch import save_file

from anomalyclip.config import BackboneConfig, ModelConfig, RunConfig
from anomalyclip.data.manifest import load_manifest
from anomalyclip.errors import JobError, UsageError
from anomalyclip.evaluation.policy import load_policy
from anomalyclip.evaluation.predictions import Digests, VideoPrediction
from anomalyclip.evaluation.predictions_file import read_predictions, write_predictions
from anomalyclip.events.verdicts import read_verdicts
from anomalyclip.features.feature_file import FeatureWriter, iterate_features, read_file_timing, read_summary
from anomalyclip.features.weights import read_weights
from anomalyclip.importing.label_file import read_labels
from anomalyclip.importing.numpy_files import open_features
from anomalyclip.importing.released_checkpoint import state_of
from anomalyclip.importing.untrusted import read_untrusted
from anomalyclip.model.bundle import ModelCard, load_card, load_tensors
from anomalyclip.runs import CARD, TENSORS
from anomalyclip.settings import build_config

Reader = Callable[[Path], Any]
WORDS = [
    "", "a", "train", "test", "Normal", "=1+1", "-1", "1e999", "0", "s3://b/a.mp4", "../a.mp4", "10-20:Arson", "all",
    "<img onerror=x>", "\0", "\ud7ff", "'\"", "9" * 30, "|", ";", "null", "{a: 1}", "[", "epochs", "classes",
]  # fmt: skip
words = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)


def check(reader: Reader, path: Path, content: bytes) -> None:
    """Read a file of this content: a value, or an error of one clear line for a command."""
    path.write_bytes(content)
    before = sorted(path.parent.iterdir())
    try:
        reader(path)
    except (UsageError, JobError) as error:
        assert str(error) and len(str(error)) < 10_000 and "weights_only" not in str(error)
    assert sorted(path.parent.iterdir()) == before


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """A file with some bytes replaced, removed or repeated; its headers are hit as often as all the rest."""
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        end = data.draw(st.sampled_from([min(128, len(content)), len(content)]))
        at = data.draw(st.integers(0, max(0, end - 1)))
        content[at : at + data.draw(st.sampled_from([0, 1, 4]))] = data.draw(st.binary(max_size=6))
    return bytes(content[: data.draw(st.sampled_from([len(content), len(content), len(content) // 2, 9]))])


@given(data=st.data())
def test_manifests(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    header = "video_id,path,split,labels,anomalies,num_frames"
    rows = data.draw(st.lists(st.lists(words, max_size=8), max_size=4))
    text = "\n".join([data.draw(st.sampled_from([header, header + ",started", "a,b", ""])), *map(",".join, rows)])
    check(load_manifest, tmp_path_factory.getbasetemp() / "fuzz.csv", text.encode(errors="surrogatepass"))


@given(data=st.data())
def test_parquet_manifests(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    row = {name: ["x"] for name in ("video_id", "path", "split", "labels", "anomalies", "num_frames")}
    pl.DataFrame(row).write_parquet(buffer := io.BytesIO())
    check(load_manifest, tmp_path_factory.getbasetemp() / "fuzz.parquet", damaged(data, buffer.getvalue()))


def _yaml(data: st.DataObject, known: Mapping[str, Any]) -> bytes:
    if data.draw(st.booleans()):
        return data.draw(st.text(st.sampled_from("abc:[]{}&*!|>-? \n\t'\"%@#,0x1_."), max_size=60)).encode()
    sections = data.draw(st.dictionaries(st.sampled_from(sorted(known)), values, max_size=3))
    for name in sections:
        keys = sorted(known[name]) if isinstance(known[name], dict) and known[name] else ["a"]
        sections[name] = data.draw(st.dictionaries(st.sampled_from(keys), values, max_size=3))
    return yaml.safe_dump(sections).encode()


@given(data=st.data())
def test_configurations(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = _yaml(data, RunConfig().model_dump())
    check(lambda path: build_config(RunConfig(), path), tmp_path_factory.getbasetemp() / "fuzz.yaml", content)


@given(data=st.data())
def test_policies(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    known = {"evaluation": {"manifest": 1, "frame_tolerance": 1}, "floors": {"auc": 1}, "margins": {"auc": 1},
             "baselines": {}, "smoke": {"video": 1}}  # fmt: skip
    check(load_policy, tmp_path_factory.getbasetemp() / "policy.yaml", _yaml(data, known))


@given(data=st.data())
def test_arrays(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    np.save(buffer := io.BytesIO(), np.ones((6, 4), np.float32))
    whole = buffer.getvalue()
    shapes = ["(6, 4)", "(-6, -4)", "(-1, 4)", "(0, 4)", "(9**9, 4)", "(99999999999, 4)", "()"]
    whole = whole.replace(b"(6, 4)", data.draw(st.sampled_from(shapes)).encode())

    def reader(path: Path) -> None:
        with suppress(ValueError):  # the import makes one error of all files
            list(open_features("a", [path], None).batches())

    check(reader, tmp_path_factory.getbasetemp() / "fuzz.npy", damaged(data, whole))


@given(data=st.data())
def test_checkpoints(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.save({"state_dict": {"net.a": torch.ones(3)}, "hyper_parameters": {"a": 1}}, buffer := io.BytesIO())
    content = damaged(data, buffer.getvalue())
    check(lambda path: state_of(read_untrusted(path)), tmp_path_factory.getbasetemp() / "fuzz.ckpt", content)
    check(read_weights, tmp_path_factory.getbasetemp() / "fuzz.pt", content)


@given(data=st.data())
def test_feature_files(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "whole.features"
    with FeatureWriter(path, 1) as writer:
        writer.append(np.ones((5, 1, 4), np.float16))
        writer.describe({"num_frames": "5", "fps": "25.0"})

    def reader(path: Path) -> None:
        with suppress(ArrowInvalid), path.open("rb") as file:  # counts as not there: extracted again
            read_summary(file)
            read_file_timing(file)
            list(iterate_features(file))

    check(reader, tmp_path_factory.getbasetemp() / "fuzz.features", damaged(data, path.read_bytes()))


@given(data=st.data())
def test_model_bundles(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "bundle"
    folder.mkdir(exist_ok=True)
    card = ModelCard(classes=("Normal", "Arson"), normal_index=0, model=ModelConfig(), backbone=BackboneConfig(),
                     backbone_identity=None, sampling_rate=1)  # fmt: skip
    plain = card.model_dump(mode="json")
    fields = plain | data.draw(st.dictionaries(st.sampled_from(sorted(plain)), values))
    check(lambda path: load_card(path.parent), folder / CARD, damaged(data, json.dumps(fields).encode()))
    save_file({"a": torch.ones(3)}, folder / TENSORS)
    check(lambda path: load_tensors(path.parent), folder / TENSORS, damaged(data, (folder / TENSORS).read_bytes()))


@given(data=st.data())
def test_predictions(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    scores, probabilities = np.full(2, 0.5, np.float32), np.full((2, 2), 0.5, np.float32)
    video = VideoPrediction("a", ["Arson"], [[], ["Arson"]], scores, probabilities)
    write_predictions(whole := folder / "whole.predictions", [video], ("Arson", "Normal"), Digests("m", "a", "x"), 16)
    check(read_predictions, folder / "fuzz.parquet", damaged(data, whole.read_bytes()))


@given(data=st.data())
def test_verdicts(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    fields = ("video_id", "source", "verdict", "start_frame", "end_frame", "label", "decided_at")
    rows = st.lists(st.one_of(values, st.dictionaries(st.sampled_from(fields), values)), max_size=3)
    content = {
        "schema_version": data.draw(st.sampled_from([1, 2, "x"])),
        "verdicts": data.draw(st.one_of(rows, values)),
    }
    text = json.dumps(data.draw(st.one_of(st.just(content), values))).encode()
    check(read_verdicts, tmp_path_factory.getbasetemp() / "verdicts.json", damaged(data, text))


@given(text=st.text(max_size=80))
def test_label_files(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(read_labels, tmp_path_factory.getbasetemp() / "labels.csv", text.encode())
