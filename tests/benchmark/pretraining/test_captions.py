import open_clip
import torch
from torch import Generator

from anomalyclip.benchmark.pretraining.captions import CaptionTable

CAPTIONS = [("a red square", "red"), ("a dog before a house in the evening",), ("red", "a dog", "the evening")]


def test_every_caption_of_a_picture_is_drawn_and_no_other() -> None:
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    table, generator = CaptionTable(CAPTIONS, tokenizer), Generator().manual_seed(0)
    drawn: list[set[str]] = [set(), set(), set()]
    for _ in range(40):
        for picture, ranks in zip((2, 0, 1), table.sample(torch.tensor([2, 0, 1]), generator), strict=True):
            tokens = table.vocabulary[ranks]
            words = tokens[1 : int(tokens.argmax())].tolist()
            drawn[picture].add(tokenizer.decode(words).strip())
    assert drawn == [set(captions) for captions in CAPTIONS]


def test_the_end_of_text_stays_the_highest_and_ends_the_longest_caption() -> None:
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    table = CaptionTable(CAPTIONS, tokenizer)
    ranks = table.sample(torch.tensor([1, 1]), Generator())
    assert table.vocabulary[ranks.max()] == tokenizer(["x"]).max()
    assert ranks.argmax(dim=1).tolist() == [ranks.shape[1] - 1] * 2
