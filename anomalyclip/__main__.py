"""The console command: `anomalyclip train …` runs the same code as `python workflows/train.py …`."""

import sys
from importlib import import_module

COMMANDS = {
    "demo": ("workflows.demo", "the whole story on drawn footage, in minutes"),
    "make_manifest": ("workflows.make_manifest", "write the manifest of a dataset on disk"),
    "extract": ("workflows.extract", "videos to stored features"),
    "import_features": ("workflows.import_features", "NumPy files to stored features"),
    "train": ("workflows.train", "videos to a registered model"),
    "evaluate": ("workflows.evaluate", "figures of a model on test videos"),
    "search": ("tuning.search", "search over settings; the winner becomes the candidate"),
    "ablate": ("workflows.ablate", "the paper's ablation tables"),
    "compare": ("workflows.compare", "models side by side, with paired intervals"),
    "promote": ("workflows.promote", "candidate to champion, through the gates of a policy"),
    "storage": ("workflows.storage", "list the storage root, remove what is unused"),
    "import_checkpoint": ("workflows.import_checkpoint", "the authors' checkpoint to a registered model"),
    "draw_benchmark": ("workflows.draw_benchmark", "draw the benchmark's videos"),
    "pretrain_backbone": ("workflows.pretrain_backbone", "train the small CLIP that ships with the package"),
}
"""Every command by name: its module below `anomalyclip`, and what it does."""


def main() -> None:
    """Run the command that the first argument names; exit code 2 where there is none of that name."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        return
    from anomalyclip import cli

    sys.argv = [f"anomalyclip {name}", *arguments]
    if name not in COMMANDS:
        cli.run(_unknown)
    cli.run(import_module(f"anomalyclip.{COMMANDS[name][0]}").main)


def _unknown(_: object) -> None:
    from anomalyclip.errors import UsageError

    raise UsageError(f"{sys.argv[0]}: no such command; the commands are {', '.join(COMMANDS)}")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {does}" for name, (_, does) in COMMANDS.items()]
    return "\n".join(["usage: anomalyclip COMMAND [--help] …", "", "commands:", *lines])


if __name__ == "__main__":
    main()
