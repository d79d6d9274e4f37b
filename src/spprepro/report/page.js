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

function key([row], column) {
  const cell = row.cells[column];
  const text = cell.dataset.key ?? cell.firstChild?.textContent.trim() ?? "";
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}

// Numbers in the order asked, then texts: what is missing stays last.
function compare(a, b, sign) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
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
      const sign = order === "ascending" ? 1 : -1;
      const sorted = (rows) => rows.toSorted((a, b) => compare(key(a, column), key(b, column), sign));
      [...table.tBodies].forEach((body, i) =>
        body.append(...(order === "none" ? printed[i] : sorted(printed[i])).flat()));
    });
  });
}

const claims = document.querySelector("#claims table");
const all = blocks(claims.tBodies[0]);
const bar = claims.parentElement.parentElement.insertBefore(document.createElement("div"), claims.parentElement);
bar.className = "filter";
const verdict = ([row]) => row.cells[0].textContent.trim();
for (const kind of ["all", ...new Set(all.map(verdict))]) {
  const fits = (rows) => kind === "all" || verdict(rows) === kind;
  const button = bar.appendChild(document.createElement("button"));
  button.textContent = `${kind} (${all.filter(fits).length})`;
  button.setAttribute("aria-pressed", kind === "all");
  button.addEventListener("click", () => {
    for (const each of bar.children) each.setAttribute("aria-pressed", each === button);
    for (const rows of all) for (const row of rows) row.hidden = !fits(rows);
  });
}
