"""The pages name what exists, and the picture of the architecture is that of the code."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
FOLDERS = ("anomalyclip", "workflows", "tuning", "tests", "docs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    files = [f"/{file.relative_to(ROOT)}" for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    text = page.read_text()
    named = {name for code in re.findall(r"`([^`\n]+)`", text) for name in re.findall(r"[a-z0-9_/]+\.py\b", code)}
    named -= {Path(new).name for new in re.findall(r"`(\S+)` \(new\)", text)}
    named -= set(re.findall(r"`(\S+)` \(new\)", text))
    assert [name for name in sorted(named) if not any(file.endswith(f"/{name}") for file in files)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_picture_of_the_architecture_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = module.layers()
    expected = module.text(rows, *module.imports(rows))
    assert module.TEXT.read_text() == expected, "run python docs/draw_architecture.py and commit what it writes"
    assert module.PICTURE.is_file()
