"""The machine's Chromium without a screen, for tests that look at a page as a person does."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = "no Chromium is installed: apt-get install chromium"
WIDTH, HEIGHT = 1400, 900


def chromium() -> str:
    """Return the path of the machine's browser. Raise FileNotFoundError, saying what to install, if it has none."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(MISSING)


@contextlib.contextmanager
def page(url: str, picture: Path, patience: float = 30) -> Iterator[Page]:
    """
    Give a page whose addresses begin at `url`, until the end of the block.

    All that is waited for has `patience` seconds. If the block fails, what the page showed then is kept as `picture`.
    """
    picture.unlink(missing_ok=True)
    expect.set_options(timeout=1000 * patience)
    with sync_playwright() as playwright:
        # Root's browser has no sandbox; it opens nothing here but our own pages.
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=os.geteuid() != 0)
        # Fixed, so that the same text is seen on every machine.
        view = browser.new_page(
            base_url=url, viewport={"width": WIDTH, "height": HEIGHT}, locale="en-US", timezone_id="UTC", color_scheme="light"
        )
        view.set_default_timeout(1000 * patience)
        try:
            yield view
        except BaseException:
            picture.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(Exception):
                view.screenshot(path=picture, timeout=10_000)
            raise
        finally:
            browser.close()
