"""README says what is true: its results are those of the records, its commands compose."""

import re
import shlex

import pytest

from spprepro.config import check
from spprepro.report.readme import updated
from tests.conftest import ROOT
from tests.test_config import compose

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python -m spprepro ((?!-).*?)(?:  .*)?$", README, re.MULTILINE)


def test_results_are_those_of_the_records():
    assert updated(README, ROOT / "results") == README, "stale: run `make report`"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_valid(command):
    check(compose(*shlex.split(command)))


def test_pictures_and_files_exist():
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path).exists(), path


def test_it_names_every_option_of_the_groups():
    for group in ("backbone", "pyramid", "training", "data", "tier", "trainer"):
        for option in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{option.stem}`" in README or option.stem == "base", f"{group}={option.stem}"
