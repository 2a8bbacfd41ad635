"""Pages of the site that are made, not written: one per package from the docstrings, and the README as the first."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "anomalyclip"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no file in `docs/`."""
    pages = {"index.md": _from_root("README.md"), "contributing.md": _from_root("CONTRIBUTING.md"),
             "changelog.md": _from_root("CHANGELOG.md")}  # fmt: skip
    pages |= {f"api/{path.stem}.md": _api(path) for path in sorted(PACKAGE.iterdir()) if _is_public(path)}
    for place, content in pages.items():
        files.append(File.generated(config, place, content=content))
    return files


def _is_public(path: Path) -> bool:
    return not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file())


def _api(path: Path) -> str:
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return "\n\n".join([f"# anomalyclip.{path.stem}", *(f"::: {name}" for name in names)])


def _from_root(name: str) -> str:
    """Return a page that lies beside `docs/`, with its links as seen from inside."""
    text = (ROOT / name).read_text().replace("](docs/", "](")
    text = re.sub(r"\]\(anomalyclip/(\w+)\.py\)", r"](api/\1.md)", text)
    return text.replace("](CONTRIBUTING.md)", "](contributing.md)").replace("](CHANGELOG.md)", "](changelog.md)")
