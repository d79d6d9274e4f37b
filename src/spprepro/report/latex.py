"""A sheet as a LaTeX table (booktabs), to be \\input into a paper."""

import re
from collections.abc import Sequence

from spprepro.report.grid import Grid, Line, grid
from spprepro.report.sheets import Sheet, warning

_SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "—": "---", "≥": r"$\geq$", "≤": r"$\leq$"},
}


def tex(text: str) -> str:
    """`text` with the signs that LaTeX would read as its own, and minus signs for hyphens before numbers."""
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", "".join(_SIGNS.get(sign, sign) for sign in text))


def table(sheet: Sheet) -> str:
    """The file tables/tableNN.tex: a table environment; needs \\usepackage{booktabs,graphicx}."""
    shown, paper = grid(sheet), sheet.table
    about = [paper.title + ".", paper.caption, warning(sheet.tier), f"Ours: {sheet.measured_on or 'not run'}."]
    columns = len(shown.columns) * max(1, len(shown.parts))
    return "\n".join(
        [
            "% Made by python -m spprepro task=report from the records alone; do not edit.",
            r"% Needs \usepackage{booktabs,graphicx}.",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{tex(' '.join(part for part in about if part))}}}",
            rf"\label{{tab:spp-{sheet.tier}-{paper.name}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * columns}}}",
            r"\toprule",
            *_heads(shown, sheet.tier),
            r"\midrule",
            *_body(shown, columns, sheet.tier),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
            "",
        ]
    )


def _heads(grid: Grid, tier: str) -> list[str]:
    width = len(grid.parts)
    if not width:
        return [_row(["", *map(tex, grid.columns)])]
    spans = [rf"\multicolumn{{{width}}}{{c}}{{{tex(column)}}}" for column in grid.columns]
    rules = "".join(rf"\cmidrule(lr){{{2 + i * width}-{1 + (i + 1) * width}}}" for i in range(len(grid.columns)))
    parts = [f"ours ({tier})" if part == "ours" else part for part in grid.parts]
    return [_row(["", *spans]), rules, _row(["", *(parts * len(grid.columns))])]


def _body(grid: Grid, columns: int, tier: str) -> list[str]:
    lines: list[str] = []
    group = ""
    for line in grid.lines:
        if line.group != group:
            lines += [r"\addlinespace"] if lines else []
            group = line.group
            lines.append(rf"\multicolumn{{{columns + 1}}}{{l}}{{\textit{{{tex(group)}}}}} \\")
        lines.append(_row([_label(line, tier), *(tex(str(entry)) for entry in line.entries)]))
    return lines


def _label(line: Line, tier: str) -> str:
    own = f"ours ({tier})" if line.more and line.label == "ours" else line.label
    return (r"\quad " if line.more else "") + tex(own + (f", {line.note}" if line.note else ""))


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
