"""The system's Chromium without a window, and a TensorBoard to look at."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Without its sandbox, which root may not use: what it opens is ours."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def tensorboard(results: Path) -> Iterator[str]:
    """TensorBoard over a folder, on a free port; yields its address when all runs are read."""
    runs = {str(path.parent.relative_to(results)) for path in results.rglob("events.out.tfevents.*")}
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", results.name, "--port", "0"]
    with subprocess.Popen(command, cwd=results.parent, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            address = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
            while runs - set(json.load(urlopen(f"{address}data/runs"))):
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.communicate()  # what it says meanwhile must not block it


def open_charts(page: Page, address: str, runs: str) -> None:
    """Custom Scalars of the runs that match the pattern `runs`, drawn and without smoothing."""
    page.goto(f"{address}#custom_scalars&regexInput={runs}&_smoothingWeight=0")
    page.get_by_text(re.compile(r"Matches \([1-9]")).first.wait_for()
    page.wait_for_load_state("networkidle")


def fits(page: Page) -> bool:
    """Whether the page is no wider than its window, so that nobody scrolls sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
