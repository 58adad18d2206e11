"""A real Chromium without a window, where there is one; elsewhere such tests are skipped and say why."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starts import starts

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium here: `apt install chromium`, or name one in $CHROMIUM"
)
needs_playwright = pytest.mark.skipif(
    importlib.util.find_spec("playwright") is None, reason="no playwright here: `make install`"
)


@starts("starts_browser")
@contextmanager
def chromium(*options: str) -> Iterator[Any]:
    """Playwright's browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *options])
        yield browser
        browser.close()
