"""Headless Chromium, driven by Selenium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

MISSING = "tests of the report need Debian's packages chromium and chromium-driver: run `make browser` as root"
SWITCHES = (
    "headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "hide-scrollbars", "window-size=1200,900",
)  # fmt: skip


@contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """Start a Chromium with a new profile, 1200 x 900; profile and downloads go into the folder."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.fail(MISSING, pytrace=False)
    options = ChromeOptions()
    options.binary_location = program
    for switch in (*SWITCHES, f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{switch}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, Service(driver))
    try:
        yield browser
    finally:
        browser.quit()
