from anomalyclip.features.backbone import new_backbone
from tests.benchmarks.flops import flops_per_frame


def test_attention_is_counted_with_the_rest() -> None:
    backbone = new_backbone("ViT-S-32")
    width, layers, tokens, dim = 384, 12, 50, 384
    patches = 2 * 49 * 3 * 32**2 * width
    per_layer = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    assert flops_per_frame(backbone) == patches + layers * per_layer + 2 * width * dim
