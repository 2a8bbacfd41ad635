from pathlib import Path

import pytest

from anomalyclip.config import BackboneConfig, RunConfig
from anomalyclip.errors import UsageError
from anomalyclip.presets import PRESETS
from anomalyclip.settings import build_config, digest, to_yaml

DEFAULT = RunConfig()


def refusal(*overrides: str, file: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        build_config(DEFAULT, file, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "override, value",
    [
        ("training.epochs=7", 7),
        ("training.learning_rate=1e-3", 1e-3),
        ("training.learning_rate=1", 1.0),
        ("model.concat_logits=true", True),
        ("model.context_text=a video of", "a video of"),
        ("data.classes=[b, a]", ("b", "a")),
        ("extraction.workers=null", None),
        ("backbone.weights=/a=b.pt", "/a=b.pt"),
    ],
)
def test_an_override_takes_the_type_of_its_setting(override: str, value: object) -> None:
    section, key = override.partition("=")[0].split(".")
    found = getattr(getattr(build_config(DEFAULT, None, [override]), section), key)
    assert (found, type(found)) == (value, type(value))


def test_overrides_come_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("training: {epochs: 30, seed: 5}")
    config = build_config(PRESETS["ucf-crime"], tmp_path / "c.yaml", ["training.seed=6", "training.seed=7"])
    assert (config.training.epochs, config.training.seed, config.training.learning_rate) == (30, 7, 1e-5)


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("training.epoch", "training.epochs"),
        ("trainning.epochs", "training.epochs"),
        ("model.learning_rate", "training.learning_rate"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_nearest(name: str, nearest: str, tmp_path: Path) -> None:
    assert refusal(f"{name}=3") == f"--set: unknown setting {name}; did you mean {nearest}?"
    section, key = name.split(".")
    (tmp_path / "c.yaml").write_text(f"{section}: {{{key}: 3}}")
    assert refusal(file=tmp_path / "c.yaml").endswith(f"c.yaml: unknown setting {name}; did you mean {nearest}?")


@pytest.mark.parametrize("override", ["training.epochs", "epochs=3", "training.a.b=3", "=3", "training.epochs=["])
def test_an_override_of_another_form_is_refused(override: str) -> None:
    assert f"--set {override}: " in refusal(override)


@pytest.mark.parametrize(
    "overrides, rule",
    [
        (["model.heads=3"], "heads=3 must divide embedding_dim=64"),
        (["model.k=33"], "k=33 exceeds the 32 segments"),
        (["training.batch_size=7"], "batch_size=7 must be even"),
        (["training.workers=3"], "workers=3 must divide half the batch (32"),
        (["training.workers=4", "training.min_workers=2"], "workers=3 must divide half the batch (32"),
        (["training.workers=2", "training.min_workers=4"], "min_workers=4 must be at most workers=2"),
        (["training.epochs=2"], "warmup_epochs=2 must be below epochs=2"),
        (["extraction.sampling_rate=null"], "extraction.sampling_rate=null is for imported snippets"),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_the_rule(overrides: list[str], rule: str) -> None:
    assert rule in refusal(*overrides)


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=.nan",
        "training.weight_decay=.inf",
        "loss.smooth=-1",
        "training.epochs=0",
        "training.epochs=1.5",
        "training.epochs=many",
        "training.protocol=dirty",
        "training.validation_fraction=1",
        "model.top_dropout=1.0",
        "live.port=65536",
    ],
)
def test_a_value_out_of_its_range_is_named_with_what_was_given(override: str) -> None:
    name, _, value = override.partition("=")
    message = refusal(override)
    assert message.startswith(f"{name}: ")
    assert value.strip(".") in message


@pytest.mark.parametrize(
    "content, complaint",
    [
        (b"training: [", "is not readable YAML"),
        (b"\xff\xfe\x00", "is not readable YAML"),
        (b"- 1", "expected sections of settings"),
        (b"epochs: 3", "expected sections of settings"),
        (b"", "expected sections of settings"),
    ],
)
def test_a_config_file_of_another_form_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    message = refusal(file=tmp_path / "c.yaml")
    assert complaint in message
    assert str(tmp_path / "c.yaml") in message


def test_an_unknown_setting_that_resembles_none_names_the_sections() -> None:
    assert refusal("nosec.x=1").startswith("--set: unknown setting nosec.x; the sections are data, backbone, ")


def test_a_config_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(file=tmp_path / "none.yaml") == f"config file {tmp_path / 'none.yaml'} does not exist"
    assert "is not readable" in refusal(file=tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_written_as_yaml_reads_back_equal(name: str, tmp_path: Path) -> None:
    config = build_config(PRESETS[name], None, ["model.context_text=a b", "training.seed=3", "extraction.workers=2"])
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert build_config(DEFAULT, tmp_path / "c.yaml") == config


def test_a_digest_depends_on_content_alone() -> None:
    assert digest({"b": 1, "a": [2.5, None]}, BackboneConfig()) == "82cf57afe4562a24"
    assert digest({"a": [2.5, None], "b": 1}, BackboneConfig()) == "82cf57afe4562a24"
    assert digest({"a": [2.5, None], "b": 1}, BackboneConfig(offline=True)) != "82cf57afe4562a24"


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"training\.epochs: .*; model\.k: |model\.k: .*; training\.epochs: "):
        build_config(RunConfig(), None, ["training.epochs=many", "model.k=-1"])


@pytest.mark.parametrize(("text", "fault"), [
    ("[" * 5000, "nested too deeply"),
    ("training: {epochs: !!int x}", "does not fit its type"),
    ("training: {epochs: 2001-99-99}", "does not fit its type"),
    ("training: {epochs: 0x" + "f" * 9000 + "}", "too large a number"),
    ("#" * 300_000, "settings have at most"),
    ("training: {epochs: [&a [x, x, x], &b [*a, *a, *a], &c [*b, *b, *b], *c]}", "valid integer"),
])  # fmt: skip
def test_settings_that_would_cost_time_or_memory_are_refused_in_one_short_line(
    text: str, fault: str, tmp_path: Path
) -> None:
    (path := tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(UsageError, match=fault) as raised:
        build_config(RunConfig(), path)
    assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)
