"""Skipped where there is no Chromium or no Playwright, which the extra `browser` installs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.opening import CHROMIUM, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    pytest.importorskip("axe_playwright_python", reason="no Playwright: pip install -e '.[browser]'")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH; Debian's package is chromium")
    with chromium() as opened:
        yield opened


@pytest.fixture(params=[1400, 400])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A new window, wide or narrow."""
    with browser.new_context(viewport={"width": request.param, "height": 900}) as context:
        yield context.new_page()


@pytest.fixture
def errors(page: Page) -> list[str]:
    """What goes wrong in the window from now on: in the console, in scripts, in loading."""
    found: list[str] = []
    page.on("console", lambda message: message.type == "error" and found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("requestfailed", lambda request: found.append(f"{request.url}: {request.failure}"))
    return found
