"use strict";
/* A heading with data-key sorts the rows of its table by their attribute data-<key>; rows without a value come last. */
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0], heads = [...table.tHead.querySelectorAll("th[data-key]")];
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"), first = head.dataset.first;
      const order = now ? (now === "ascending" ? "descending" : "ascending") : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1, text = head.hasAttribute("data-text");
      const value = (row) => row.getAttribute(`data-${head.dataset.key}`);
      const compare = (a, b) => (text ? a.localeCompare(b) : Number(a) - Number(b));
      const rows = [...body.rows], known = rows.filter((row) => value(row) !== null);
      known.sort((a, b) => sign * compare(value(a), value(b)));
      body.append(...known, ...rows.filter((row) => value(row) === null));
    });
  }
}
