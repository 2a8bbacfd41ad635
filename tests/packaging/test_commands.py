"""The table of commands names every file that a user may run, and only those."""

from pathlib import Path

from anomalyclip.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent.parent


def test_every_command_is_a_file_of_its_name_and_every_such_file_a_command() -> None:
    runnable = {
        path.stem: f"{folder}.{path.stem}"
        for folder in ("workflows", "tuning")
        for path in (ROOT / folder).glob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert {name: module for name, (module, _) in COMMANDS.items()} == runnable
    assert {path.stem for path in (ROOT / "workflows").glob("[!_]*.py")} <= runnable.keys()
