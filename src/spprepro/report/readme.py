"""The results block of README.md, between its markers, from the records: python -m spprepro.report.readme."""

from pathlib import Path

from spprepro.errors import DataError
from spprepro.files import write_text
from spprepro.report.markdown import readme_block

BEGIN, END = "<!-- results: made by make report, do not edit -->", "<!-- end of results -->"


def updated(text: str, results_dir: Path) -> str:
    """`text` with the block between its markers made again; raises DataError where the markers are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"README.md: lacks the lines {BEGIN} and {END}; put them where the tables belong")
    return f"{before}{BEGIN}\n\n{readme_block(results_dir)}\n{END}{after}"


if __name__ == "__main__":
    readme = Path("README.md")
    write_text(readme, updated(readme.read_text(encoding="utf-8"), Path("results")))
