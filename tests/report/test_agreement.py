"""Markdown, CSV, LaTeX and HTML of every table say the same, to the digit, and LaTeX reads what it is given."""

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from spprepro.report import render
from tests.report.test_claims import layers, run
from tests.report.test_detection import detector

Lines = list[tuple[str, ...]]
NUMBERS = range(1, 14)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables with all that cells can be: several seeds, one, none, computed, quoted, known to differ, not printed."""
    folder = tmp_path_factory.mktemp("results")
    for seed in range(3):
        run(folder, "table1_zf5_nospp", 160 + 7 * seed, seed)
        run(folder, "table1_zf5_multisize", 123 - 5 * seed, seed)
        detector(folder, "table9_zf5_5sc", 33.0 + seed, 49.0 + seed, seed)
    run(folder, "table1_zf5_singlesize", 100)
    detector(folder, "table9_zf5_1sc", 30.04, 45.0)
    layers(folder, "zf5", conv1_map=(55, "cells"), conv2_map_before_pool=(26, "cells"), parameters_nospp=(62.4, "M"))
    render.report(folder)
    return folder / "mini" / "tables"


def of_markdown(text: str) -> Lines:
    """Label and entries of each line of the first table."""
    table = text.split("\n\n|")[1].split("\n\n")[0].splitlines()[2:]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ").join("  ") + " ") for line in table]
    return [tuple(cell.strip().replace("\\*", "*") for cell in line) for line in cells]


def of_latex(text: str) -> Lines:
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].replace("\\addlinespace\n", "")
    lines = []
    for line in body.splitlines():
        if line.startswith("\\multicolumn"):
            continue
        line = line.removesuffix(" \\\\").replace("\\quad ", "").replace("$\\pm$", "±").replace("$-$", "-")
        cells = re.split(r"(?<!\\)&", line.replace("---", "—"))
        lines.append(tuple(re.sub(r"\\([&%$#_{}])", r"\1", cell).strip() for cell in cells))
    return lines


class Page(HTMLParser):
    """The cells of the first table, with small print after a space."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.skip = 0
        self.feed(text[: text.index("</table>")])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            self.lines[-1].append("")
        elif tag == "small":
            self.lines[-1][-1] += "<"

    def handle_data(self, data: str) -> None:
        if self.lines and self.lines[-1]:
            self.lines[-1][-1] += data.strip("\n")


def of_page(text: str, number: int) -> Lines:
    parsed = Page(text.split(f'<section id="table{number:02d}"')[1]).lines
    return [tuple(line) for line in parsed if len(line) > 1]


def normal(lines: Lines, entries: int) -> Lines:
    """The lines of entries, with what stands between number and small print taken out, and labels without the tier."""
    found = []
    for label, *cells in lines:
        cells += [""] * (entries - len(cells))
        plain = re.sub(r"\(tier=mini\)|\(mini\)| mini", "", label)
        words = re.sub(r"[:,<]| {2,}", " ", plain).split()
        found.append((" ".join(words), *(" ".join(re.sub(r"[;<]", " ", cell).split()) for cell in cells)))
    return found


def of_csv(path: Path) -> dict[tuple[str, str], tuple[str, str, str]]:
    """(row, column) -> paper, ours and difference, put together as the other files show them."""
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            paper = " ".join([line["paper"] or "—"] + [f"({gain})" for gain in [line["paper_gain"]] if gain])
            ours, difference = "", ""
            if line["state"] == "run":
                ours = " ± ".join(text for text in (line["ours"], line["ours_std"]) if text)
                ours += f" ({line['ours_gain']})" if line["ours_gain"] else ""
                difference = " ".join(line[key] for key in ("difference", "claim_margin", "claim_word") if line[key])
            found[line["row"], line["column"]] = paper, ours or line["state"], difference
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_the_four_files_agree(tables: Path, number: int) -> None:
    path = tables / f"table{number:02d}.md"
    page = of_page((tables.parent / "report.html").read_text(encoding="utf-8"), number)
    entries = max(map(len, page)) - 1
    latex = normal(of_latex(path.with_suffix(".tex").read_text(encoding="utf-8")), entries)
    groups = {(label,) for label, *cells in of_markdown(path.read_text(encoding="utf-8")) if not any(cells)}
    markdown = [line for line in of_markdown(path.read_text(encoding="utf-8")) if (line[0],) not in groups]
    assert len(latex) >= 3
    assert normal(markdown, entries) == latex
    assert normal(page, entries)[-len(latex) :] == latex
    numbers = [text for line in latex for text in line[1:] if text not in ("", "—")]
    cells = of_csv(path.with_suffix(".csv"))
    seeds = re.compile(r",? (computed|\d seeds?)(?=$)")
    wanted = [text for texts in cells.values() for text in texts if text not in ("", "—")]
    shown = [seeds.sub("", text).replace(" (known)", "") for text in numbers]
    stacked = any(line[0] == "difference" for line in latex)
    left_out = {"not run", "quoted"} if stacked else set()  # a line says it there, not each cell
    assert sorted(shown) == sorted(text for text in wanted if text not in left_out)


@pytest.mark.parametrize("number", NUMBERS)
def test_latex_is_balanced_and_every_line_fills_its_columns(tables: Path, number: int) -> None:
    text = (tables / f"table{number:02d}.tex").read_text(encoding="utf-8")
    bare = re.sub(r"\\[{}\\%&#$_]", "", text)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    assert re.findall(r"\\begin{(.*?)}", text) == re.findall(r"\\end{(.*?)}", text)[::-1]
    columns = len(re.search(r"\\begin{tabular}{(l?r+)}", text)[1])
    for line in text.split("\\toprule")[1].split("\\bottomrule")[0].splitlines():
        if line.endswith("\\\\"):
            spans = [int(span) for span in re.findall(r"\\multicolumn{(\d+)}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans) == columns
    assert "Not the paper's scale (tier=mini" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_reads_the_tables(tables: Path, tmp_path: Path) -> None:
    inputs = "".join(f"\\input{{{path}}}\\clearpage\n" for path in sorted(tables.glob("*.tex")))
    head = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
    (tmp_path / "all.tex").write_text(f"{head}{inputs}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
