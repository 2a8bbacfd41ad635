import subprocess
import sys

import pytest
import torch

from anomalyclip.device import resolve_device, resolve_precision, tf32_allowed

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CONVOLUTIONS, PRODUCTS = torch.backends.cudnn.conv, torch.backends.cuda.matmul


@pytest.mark.parametrize("available", [True, False])
def test_a_gpu_is_used_if_there_is_one(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device().type == ("cuda" if available else "cpu")


def test_automatic_precision_is_float32_on_cpus_and_bfloat16_on_gpus() -> None:
    assert resolve_precision("auto", CPU) == "float32" and resolve_precision("auto", GPU) == "bfloat16"
    assert resolve_precision("bfloat16", CPU) == "bfloat16" and resolve_precision("float32", GPU) == "float32"


def test_tf32_is_float32_where_there_is_no_gpu() -> None:
    assert resolve_precision("tf32", CPU) == "float32" and resolve_precision("tf32", GPU) == "tf32"


def test_float32_products_are_exact_in_a_process_that_uses_a_device() -> None:
    program = (
        "import torch; before = torch.backends.cudnn.conv.fp32_precision; import anomalyclip.device; "
        "print(before, torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["tf32", "ieee", "ieee"]


def test_tf32_ends_with_its_block_also_after_an_error() -> None:
    with pytest.raises(ValueError), tf32_allowed("tf32"):
        assert CONVOLUTIONS.fp32_precision == PRODUCTS.fp32_precision == "tf32"
        raise ValueError
    assert CONVOLUTIONS.fp32_precision == PRODUCTS.fp32_precision == "ieee"
    with tf32_allowed("bfloat16"):
        assert CONVOLUTIONS.fp32_precision == PRODUCTS.fp32_precision == "ieee"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_float32_convolutions_on_a_gpu_equal_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    images, weights = (torch.randn(shape, generator=generator) for shape in ((8, 64, 32, 32), (64, 64, 3, 3)))
    exact = torch.nn.functional.conv2d(images.double(), weights.double()).float()
    on_gpu = torch.nn.functional.conv2d(images.cuda(), weights.cuda()).cpu()
    assert (on_gpu - exact).norm() < 1e-5 * exact.norm()
