"""The README's pictures of a report and of TensorBoard over results/: python -m tests.browser.screenshots."""

from tests.browser.opening import chromium, open_charts, tensorboard
from tests.conftest import ROOT

SHOTS = ROOT / "docs" / "screenshots"
WINDOW = {"width": 1400, "height": 900}
RUNS = "^mini/table1_zf5_(nospp|singlesize|multisize)/"

if __name__ == "__main__":
    with chromium() as browser, tensorboard(ROOT / "results") as address:
        page = browser.new_page(viewport=WINDOW)
        page.goto((ROOT / "results" / "mini" / "report.html").as_uri())
        page.screenshot(path=SHOTS / "report.png")
        open_charts(page, address, RUNS)
        page.screenshot(path=SHOTS / "tensorboard.png")
