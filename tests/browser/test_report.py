"""The committed pages as a reader has them, in Chromium: whole, linked, sortable, accessible."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.opening import fits
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # Chromium starts, and axe-core looks at thousands of cells


@pytest.fixture(params=["mini", "small"])
def report(page, errors, request):
    path = ROOT / "results" / request.param / "report.html"
    page.goto(path.as_uri())
    return path


def test_it_opens_without_errors_and_fits(report, page, errors):
    assert page.locator("table").count() > 3
    assert fits(page)
    assert errors == []


def test_links_resolve(report, page):
    links = page.eval_on_selector_all("a[href], img[src]", "all => all.map(each => each.href ?? each.src)")
    ids = set(page.eval_on_selector_all("[id]", "all => all.map(each => each.id)"))
    assert links
    for link in map(urlsplit, links):
        if link.scheme == "file":
            path = Path(unquote(link.path))
            assert path.exists(), link
            assert path != report or unquote(link.fragment) in {"", *ids}, link


def test_tables_sort(report, page):
    table = page.locator("table:has(th[aria-sort])").first
    column = table.locator("th[aria-sort]").nth(1)
    before = table.locator("tbody").all_inner_texts()
    for order in ("ascending", "descending"):
        column.locator("button").click()
        assert column.get_attribute("aria-sort") == order
        sorted_ = table.locator("tbody").all_inner_texts()
        assert sorted("".join(sorted_)) == sorted("".join(before))
    assert sorted_ != before


@pytest.mark.parametrize(("report", "page"), [("mini", 1400), ("small", 400)], indirect=True)  # 10 s each
def test_axe_finds_no_serious_fault(report, page):
    from axe_playwright_python.sync_playwright import Axe

    faults = [
        f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}"
        for fault in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert faults == []
