"""README and docs/ say what is true: results are those of the records, commands compose, links lead somewhere."""

import re
import shlex

import pytest

from spprepro.config import check
from spprepro.report import benches
from spprepro.report.readme import updated
from tests.conftest import ROOT
from tests.test_config import compose

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
COMMANDS = re.findall(
    r"^    .*(?:python|torchrun.*) -m spprepro (?:-m )?((?!-).*?)(?:  .*)?$",
    re.sub(r"\\\n +", "", "\n".join(PAGES.values())),  # commands of several lines
    re.MULTILINE,
)


def test_results_are_those_of_the_records():
    assert updated(README, ROOT / "results") == README, "stale: run `make report`"


def test_speeds_are_those_of_the_measurements():
    kept = (ROOT / "results" / "bench" / benches.NAME).read_text(encoding="utf-8")
    assert benches.readme(ROOT / "results") == kept, "stale: run `make report`"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_valid(command):
    check(compose(*shlex.split(re.sub(r"range\(\d+\)", "0", command))))  # a sweep stands for its first


def test_pictures_and_files_exist():
    for page, text in PAGES.items():
        for path in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (page.parent / path).exists(), path


@pytest.mark.slow  # composes every job at tier=paper: about 10 s
def test_costs_are_those_of_the_plan(cli):
    (command,) = re.findall(r"python -m spprepro (task=plan.*) > docs/costs.txt", (ROOT / "Makefile").read_text())
    assert cli(*command.split()).stdout == (ROOT / "docs" / "costs.txt").read_text(), "stale: run `make report`"


def test_it_stays_short():
    assert len(README.splitlines()) < 300


def test_usage_names_every_option_of_the_groups():
    for group in ("backbone", "pyramid", "training", "data", "tier", "trainer"):
        for option in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{option.stem}`" in PAGES[ROOT / "docs" / "usage.md"] or option.stem == "base", (
                f"{group}={option.stem}"
            )
