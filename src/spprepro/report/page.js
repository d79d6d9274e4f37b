"use strict";
// A row moves with the rows of class "more" under it, and stays in its group.
function blocks(body) {
  const found = [];
  for (const row of body.rows) {
    if (row.classList.contains("more")) found.at(-1).push(row);
    else if (!row.classList.contains("group")) found.push([row]);
  }
  return found;
}

function key(rows, column) {
  const cell = rows[0].cells[column];
  const text = cell.dataset.key ?? cell.firstChild?.textContent.trim() ?? "";
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.querySelectorAll("th:not([scope=colgroup])")];
  const printed = [...table.tBodies].map(blocks);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = NEXT[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", other === head ? order : "none");
      const sign = { ascending: 1, descending: -1, none: 0 }[order];
      const sorted = (rows) => [...rows].sort((a, b) => sign * compare(key(a, column), key(b, column)));
      [...table.tBodies].forEach((body, i) => body.append(...sorted(printed[i]).flat()));
    });
  });
}

{
  const claims = document.querySelector("#claims table");
  const all = blocks(claims.tBodies[0]);
  const verdict = (rows) => rows[0].cells[0].textContent.trim();
  const bar = document.createElement("div");
  bar.className = "filter";
  for (const kind of ["all", ...new Set(all.map(verdict))]) {
    const fits = (rows) => kind === "all" || verdict(rows) === kind;
    const button = document.createElement("button");
    button.textContent = `${kind} (${all.filter(fits).length})`;
    button.setAttribute("aria-pressed", kind === "all");
    button.addEventListener("click", () => {
      for (const each of bar.children) each.setAttribute("aria-pressed", each === button);
      for (const rows of all) for (const row of rows) row.hidden = !fits(rows);
    });
    bar.append(button);
  }
  claims.parentElement.before(bar);
}
