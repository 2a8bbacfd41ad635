"""The console command: `anomalyclip train …` runs the same code as `python workflows/train.py …`."""

import ast
import sys
from importlib import import_module
from pathlib import Path


def commands() -> dict[str, Path]:
    """Return the file of every command by its name: those of `workflows/` and `tuning/` that run as programs."""
    package = Path(__file__).parent
    files = [*package.glob("workflows/*.py"), *package.glob("tuning/*.py")]
    programs = [file for file in files if 'if __name__ == "__main__":' in file.read_text()]
    return {file.stem: file for file in sorted(programs, key=lambda file: file.stem)}


def main() -> None:
    """Run the command that the first argument names; exit code 2 if there is none of that name."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        return
    from anomalyclip import cli

    sys.argv = [f"anomalyclip {name}", *arguments]
    file = commands().get(name)
    cli.run(import_module(f"anomalyclip.{file.parent.name}.{name}").main if file else _unknown)


def _unknown(_: object) -> None:
    from anomalyclip.errors import UsageError

    raise UsageError(f"{sys.argv[0]}: no such command; the commands are {', '.join(commands())}")


def _usage() -> str:
    width = max(map(len, commands()))
    lines = [f"  {name.ljust(width)}  {_summary(file)}" for name, file in commands().items()]
    return "\n".join(["usage: anomalyclip COMMAND [--help] …", "", "commands:", *lines])


def _summary(file: Path) -> str:
    """Return the first line of a file's docstring, without importing the file: its libraries take seconds."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
