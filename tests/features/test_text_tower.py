import open_clip
import pytest
import torch
from torch import Tensor

from anomalyclip.baselines.context_text import ContextText
from anomalyclip.config import ModelConfig
from anomalyclip.errors import UsageError
from anomalyclip.features.backbone import new_backbone
from anomalyclip.features.text_tower import TextTower, text_tower
from anomalyclip.model.directions import PromptDirections
from anomalyclip.model.engineered import engineered_features, engineered_prompts
from anomalyclip.model.prompts import Tokenizer, prompt_texts, token_layout
from tests.small_backbones import WordTokenizer, shrink

CLASSES = ["Arson", "Normal", "Road_accident"]
ABNORMAL = ["Arson", "Road_accident"]
TEXT = "a video of a"

CLIP = None
SIGLIP = ((), 1, 1)
SIGLIP2 = ((), 1, 0)
MT5 = ((), 1, 0)
XLM = ((0,), 2, 1)
BERT = ((5,), 0, 0)
"""Tokens before a text, id after it, id of the padding; the hub's tokenizers are not at hand."""
FAMILIES = {
    "ViT-B-16": CLIP,
    "ViT-L-14-336": CLIP,
    "EVA02-B-16": CLIP,
    "PE-Core-B-16": CLIP,
    "MobileCLIP2-B": CLIP,
    "MobileCLIP2-S0": CLIP,
    "ViT-B-16-SigLIP": SIGLIP,
    "ViT-B-16-SigLIP2": SIGLIP2,
    "ViT-SO400M-16-SigLIP-i18n-256": SIGLIP,
    "ViT-L-14-CLIPA": BERT,
    "ViT-L-14-worldwide": MT5,
    "ViT-H-14-worldwide": XLM,
}
CAUSAL = {"ViT-B-16", "ViT-L-14-336", "EVA02-B-16", "PE-Core-B-16", "MobileCLIP2-B"}
CAUSAL |= {"ViT-L-14-worldwide", "ViT-H-14-worldwide"}


class Texts:
    """A model's text side, with weights that are nowhere zero or one."""

    def __init__(self, name: str) -> None:
        backbone = new_backbone(name)
        generator = torch.Generator().manual_seed(0)
        for key, value in backbone.model.named_parameters():
            if not key.startswith(("visual", "logit")):
                value.data += 0.05 * torch.randn(value.shape, generator=generator)
        self.model, self.layout = backbone.model, FAMILIES[name]
        self.tower: TextTower = text_tower(self.model)
        window = len(self.tower.positional_embedding)
        self.tokenizer: Tokenizer = WordTokenizer(window, *self.layout) if self.layout else backbone.tokenizer

    def encoded(self, texts: list[str]) -> Tensor:
        return self.model.encode_text(self.tokenizer(texts))  # type: ignore[operator]


@pytest.fixture(scope="module", params=FAMILIES)
def texts(request: pytest.FixtureRequest) -> Texts:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(request.param, monkeypatch)
        return Texts(request.param)


def close(got: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-2
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("directions", ["frozen", "finetuned"])
def test_prompts_of_given_words_have_the_features_of_the_models_own_texts(texts: Texts, directions: str) -> None:
    config = ModelConfig(context_text=TEXT, directions=directions)
    source = PromptDirections(CLASSES, [0, 2], texts.tower, texts.tokenizer, config)
    close(source(), texts.encoded(prompt_texts(ABNORMAL, TEXT)))
    source().square().sum().backward()
    assert source.prompt_learner.context.grad is not None and source.prompt_learner.context.grad[0].abs().sum() > 0
    projection = source.text_encoder.text_projection.grad
    assert (projection is not None and bool((projection.abs().sum(dim=1) > 0).all())) == (directions == "finetuned")


def test_positions_after_the_longest_prompt_are_left_out_where_they_change_nothing(
    request: pytest.FixtureRequest, texts: Texts
) -> None:
    config = ModelConfig(context_text=TEXT)
    learner = PromptDirections(CLASSES, [0, 2], texts.tower, texts.tokenizer, config).prompt_learner
    prompts, pooled_at = learner(torch.arange(3))
    causal = request.node.callspec.params["texts"] in CAUSAL
    assert prompts.shape[1] == (int(pooled_at.max()) + 1 if causal else len(texts.tower.positional_embedding))
    assert texts.tower.reads_padding != causal


def test_engineered_prompts_and_vadclips_texts_have_the_models_own_features(texts: Texts) -> None:
    got = engineered_features(ABNORMAL, texts.tower, texts.tokenizer)
    close(got, texts.encoded(engineered_prompts(ABNORMAL)))
    context = ContextText(ABNORMAL, texts.tower, texts.tokenizer)
    word = texts.tokenizer(["x"])[0, token_layout(texts.tokenizer).start]
    context.table.data[:] = texts.tower.token_embedding(word)
    words = " ".join(["x"] * 10)
    close(context(), texts.encoded([f"{words} {name.replace('_', ' ')} {words}" for name in ABNORMAL]))


def test_texts_that_fill_the_window_are_refused_and_those_one_shorter_are_not(texts: Texts) -> None:
    window = len(texts.tower.positional_embedding)
    around = token_layout(texts.tokenizer).start + 1  # a start and an end
    dot = int(texts.layout is None)
    for words, fits in ((window - around - dot - 2, True), (window - around - dot - 1, False)):
        config = ModelConfig(context_length=words)
        if fits:
            PromptDirections(["Arson", "Normal"], [0], texts.tower, texts.tokenizer, config)
            continue
        with pytest.raises(UsageError, match=f"exceed the text tower's {window} tokens"):
            PromptDirections(["Arson", "Normal"], [0], texts.tower, texts.tokenizer, config)


def test_a_text_tower_with_a_token_of_its_own_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink("coca_ViT-B-32", monkeypatch)
    model = new_backbone("coca_ViT-B-32").model
    with pytest.raises(UsageError, match="of this CoCa cannot read learnt prompts: it adds a token of its own"):
        text_tower(model)


def test_other_text_towers_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_backbone("clip-tiny").model
    monkeypatch.setattr(model, "text_pool_type", "first")
    with pytest.raises(UsageError, match="it reads the feature of a text by `first`, not by one of argmax, eos, last"):
        text_tower(model)
    monkeypatch.setattr(model, "text", torch.nn.Linear(2, 2), raising=False)
    with pytest.raises(UsageError, match=r"its Linear is not open_clip's own .* Hugging Face; set model\.directions"):
        text_tower(model)


def test_clips_own_projection_is_shared_with_its_model() -> None:
    model = new_backbone("clip-tiny").model
    assert isinstance(model, open_clip.CLIP)
    assert text_tower(model).text_projection is model.text_projection
