"use strict";
// Tables are sorted by a click on a column's name, and filtered by words; the section in sight is marked above.
(() => {
  const value = cell => {
    const text = cell.dataset.sort ?? cell.textContent.trim(), number = Number(text);
    return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };

  for (const figure of document.querySelectorAll("figure.table")) {
    const table = figure.querySelector("table"), body = table.tBodies[0], more = figure.querySelector(".more");
    const showAll = () => { table.classList.add("all"); more?.remove(); };
    more?.addEventListener("click", showAll);
    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", () => {
        const head = button.closest("th"), column = head.cellIndex;
        const isNumber = head.classList.contains("number");
        const order = head.ariaSort ?? "none";
        const descending = order === "none" ? isNumber : order === "ascending";
        for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => compare(value(a.cells[column]), value(b.cells[column])));
        body.append(...(descending ? rows.reverse() : rows));
        showAll();
      });
    }
    const filter = figure.querySelector(".filter input"), count = figure.querySelector(".count");
    filter?.addEventListener("input", () => {
      showAll();
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${body.rows.length} rows` : "";
    });
  }

  const links = new Map([...document.querySelectorAll("nav a")].map(link => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entry.target.id), list = link.closest("ul");
      link.setAttribute("aria-current", "true");
      list.scrollLeft = link.parentElement.offsetLeft - list.offsetLeft - 40;
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const section of document.querySelectorAll("main section")) seen.observe(section);
})();
