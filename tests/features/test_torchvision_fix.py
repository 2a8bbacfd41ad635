import subprocess
import sys

OUTCOME = """
import torch
def load(library):
    {load}
torch.ops.load_library = load
from anomalyclip.features import torchvision_fix
print(torchvision_fix.DECLARED is not None)
"""


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def test_torchvision_imports_after_the_remedy_where_its_compiled_library_does_not_load() -> None:
    script = OUTCOME.format(load="raise OSError('libcudart is missing')")
    assert run(f"{script}\nfrom torchvision.transforms import Resize; print(Resize(8).size)") == "True\n8"


def test_nothing_is_declared_where_the_compiled_library_loads() -> None:
    assert run(OUTCOME.format(load="pass")) == "False"
