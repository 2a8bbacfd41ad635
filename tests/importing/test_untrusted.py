import functools
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalyclip.errors import UsageError
from anomalyclip.importing.untrusted import Inert, may_stand_in, read_untrusted

FOREIGN = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
class Settings(dict):
    def __init__(self, lr=0): self.lr = lr
    def __reduce__(self): return (Settings, (self.lr,), {"lr": self.lr})
    def __setstate__(self, state): Path(__file__).with_name("ran").touch()
class Loss:
    def __init__(self): self.weights = {"smooth": 8e-4}
"""


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of someone else's that leaves traces when it is imported or its objects are made."""
    (tmp_path / "someones_settings.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    import someones_settings  # type: ignore[import-not-found]

    yield someones_settings
    sys.modules.pop("someones_settings", None)


def test_foreign_objects_come_out_inert_and_their_code_does_not_run(foreign: Any, tmp_path: Path) -> None:
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-3)
    content = {
        "state_dict": OrderedDict(a=torch.arange(3.0)),
        "hyper_parameters": {"cfg": foreign.Settings(3), "loss": foreign.Loss(), "optimizer": optimizer, "k": 3,
                             "folder": tmp_path, "kind": dict},
    }  # fmt: skip
    torch.save(content, tmp_path / "a.ckpt")
    del sys.modules["someones_settings"]
    (tmp_path / "imported").unlink()
    found = read_untrusted(tmp_path / "a.ckpt")
    assert torch.equal(found["state_dict"]["a"], torch.arange(3.0))
    settings = found["hyper_parameters"]
    assert {type(settings[name]) for name in ("cfg", "loss", "optimizer", "folder")} == {Inert}
    assert settings["k"] == 3
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "ran").exists()
    assert "someones_settings" not in sys.modules


@pytest.mark.parametrize(
    "function, name",
    [(os.system, "posix.system"), (subprocess.Popen, "commands.Popen"), (eval, "builtins.eval"),
     (exec, "builtins.exec"), (getattr, "builtins.getattr"), (open, "open"), (os.rename, "posix.rename")],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_refused_and_does_not_run(function: Any, name: str, protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    argument = f"open({str(trace)!r}, 'w')" if function in (eval, exec) else f"touch {trace}"
    content = {"state_dict": {"net.a": torch.zeros(2)}, "loss": Calls(function, argument)}
    torch.save(content, tmp_path / "a.ckpt", pickle_protocol=protocol)
    with pytest.raises(UsageError, match=name if protocol == 2 else "damaged") as caught:
        read_untrusted(tmp_path / "a.ckpt")
    assert str(tmp_path / "a.ckpt") in str(caught.value)
    assert not trace.exists()


def test_a_call_of_what_a_call_returned_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "a.ckpt")
    twice = b"\x80\x02cfunctools\npartial\n)R)R."  # functools.partial()()
    with zipfile.ZipFile(tmp_path / "a.ckpt") as old, zipfile.ZipFile(tmp_path / "b.ckpt", "w") as new:
        for name in old.namelist():
            new.writestr(name, twice if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(UsageError, match="damaged"):
        read_untrusted(tmp_path / "b.ckpt")


@pytest.mark.parametrize("name", ["omegaconf.dictconfig.DictConfig", "src.models.loss.Loss", "torch.optim.adamw.AdamW",
                                  "functools.partial", "pathlib.PosixPath", "typing.Any", "builtins.dict"])  # fmt: skip
def test_settings_may_have_a_stand_in(name: str) -> None:
    assert may_stand_in(name)


@pytest.mark.parametrize("name", ["os.system", "posix.system", "nt.system", "builtins.eval", "builtins.__import__",
                                  "importlib.import_module", "runpy.run_path", "__builtin__.eval", "commands.Popen",
                                  "pathlib.os.system", "functools.reduce", "operator.attrgetter", "sys.exit",
                                  "shutil.rmtree", "pickle.loads", "ctypes.CDLL", "socket.socket"])  # fmt: skip
def test_functions_of_pythons_library_may_not(name: str) -> None:
    assert not may_stand_in(name)


def changed_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a changed byte in a tensor": changed_byte,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint"),
    "a bare pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "a zip of something else": lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": torch.arange(10000.0)}}, path)
    DAMAGE[damage](path)
    with pytest.raises(UsageError) as caught:
        read_untrusted(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
