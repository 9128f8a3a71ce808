// What the page does beyond reading: theme, order, filter. Without it everything is still there to read.
"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const place = "sparsegrad-report-theme";

  // A page from a file, or with storage switched off, may be refused it: then the theme lasts as long as the page.
  const remembered = () => {
    try { return localStorage.getItem(place); } catch { return null; }
  };
  const remember = (theme) => {
    try { localStorage.setItem(place, theme); } catch { /* not remembered */ }
  };
  const wear = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };

  let theme = themes.includes(remembered()) ? remembered() : "auto";
  wear(theme); // before the first paint

  const made = (tag, properties, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };

  const addSwitch = () => {
    const button = made("button", { type: "button", className: "theme" });
    const tell = () => { button.textContent = `Theme: ${theme}`; };
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      wear(theme);
      remember(theme);
      tell();
    });
    tell();
    document.querySelector("nav ul").append(made("li", {}, button));
  };

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  // Numbers as numbers, names in natural order (C2 before C10); what is not measured comes last in both directions.
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const difference = Number(a) - Number(b);
    return sign * (Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference);
  };

  const addOrder = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const written = [...body.rows];
    heads.forEach((head, column) => {
      const button = made("button", { type: "button", className: "order" }, head.firstChild); // the unit stays below
      head.prepend(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[head.ariaSort] ?? (head.ariaSort ? null : "ascending");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        const sign = next === "descending" ? -1 : 1;
        if (next) head.setAttribute("aria-sort", next);
        const keyed = written.map((row) => [key(row, column), row]);
        if (next) keyed.sort((a, b) => compare(a[0], b[0], sign));
        body.append(...keyed.map((pair) => pair[1]));
      });
    });
  };

  const addFilter = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 8) return; // seen at a glance
    const words = rows.map((row) => row.textContent.toLowerCase());
    const count = made("output", {});
    const field = made("input", { type: "search", autocomplete: "off", spellcheck: false });
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let seen = 0;
      rows.forEach((row, at) => {
        row.hidden = !wanted.every((word) => words[at].includes(word));
        seen += !row.hidden;
      });
      count.textContent = wanted.length ? `${seen} of ${rows.length} rows` : "";
    });
    (table.closest(".scroll") ?? table).before(made("div", { className: "filter" }, made("label", {}, "Filter ", field), count));
  };

  // Addresses that point into something folded unfold it, and what that lies in, also where the browser would not.
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    let folded = false;
    for (let place = target?.closest("details"); place; place = place.parentElement.closest("details")) {
      folded ||= !place.open;
      place.open = true;
    }
    if (folded) target.scrollIntoView();
  };

  document.addEventListener("DOMContentLoaded", () => {
    addSwitch();
    for (const table of document.querySelectorAll("table.data")) {
      addOrder(table);
      addFilter(table);
    }
    document.addEventListener("click", (event) => {
      if (event.target.closest("[popover] a")) event.target.closest("[popover]").hidePopover?.();
    });
    window.addEventListener("hashchange", unfold);
    unfold();
  });
})();
