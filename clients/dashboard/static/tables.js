"use strict";
/* What the pages share: elements, numbers as text, and tables that are sorted by a click on a heading and saved as CSV.
 * Names of studies, trials and parameters come from untrusted programs, so all text is set as text, never as HTML. */
const Tables = (() => {
  const MAX_ROWS = 100;

  function el(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value; else made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const number = (value, digits = 4) =>
    value === null || value === undefined ? "–" : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
  const percent = (share, digits = 0) => (share === null || share === undefined ? "–" : (100 * share).toFixed(digits) + "%");
  const count = (n) => n.toLocaleString("en-US").replaceAll(",", "\u202f");
  const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

  /** Numbers among each other by size, text in natural order (trial-2 before trial-10), what is missing last. */
  function compare(a, b) {
    const [noA, noB] = [a, b].map((value) => value === null || value === undefined || value === "");
    if (noA || noB) return Number(noA) - Number(noB);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  const isMissing = (value) => value === null || value === undefined || value === "";

  /** Names of at most n characters for a column: what all names begin and end with goes first. Returns name -> text. */
  function shortNames(names, n) {
    const [first, ...others] = names.filter((name) => name.length > n);
    let [head, tail] = [first ? first.length : 0, first ? first.length : 0];
    for (const other of others) {
      while (!other.startsWith(first.slice(0, head))) head--;
      while (!other.endsWith(first.slice(first.length - tail))) tail--;
    }
    if (!others.length) [head, tail] = [0, 0];
    return (name) => {
      if (name.length <= n) return name;
      const own = name.slice(head > 6 ? head - 3 : 0, tail > 6 && tail + head < name.length ? name.length - tail + 3 : undefined);
      return own === name ? Charts.short(name, n) : Charts.short(`${name.startsWith(own) ? "" : "…"}${own}${name.endsWith(own) ? "" : "…"}`, n);
    };
  }

  /** A table of sorted rows. columns: [{title, kind (class of its cells), value(row), show(row) (text or element; default: the value), hint}]; at most `MAX_ROWS` rows are shown until "show all" is pressed.
   * onRow(element, row) is called for every row that is made. name: of the CSV file. */
  class Table {
    constructor(table, { name, onRow = () => {}, limit = MAX_ROWS }) {
      [this.table, this.name, this.onRow, this.limit] = [table, name, onRow, limit];
      [this.columns, this.rows, this.by, this.down, this.all] = [[], [], null, false, false];
      this.more = el("button", { type: "button", className: "link", hidden: true });
      this.more.addEventListener("click", () => { this.all = !this.all; this.draw(); });
      this.save = el("button", { type: "button", className: "link" }, "CSV");
      this.save.addEventListener("click", () => this.download());
      table.parentElement.after(el("div", { className: "below small" }, this.more, this.save));
    }

    /** Rows come in the order that is shown until a heading is clicked. */
    show(columns, rows) {
      [this.columns, this.rows] = [columns, rows];
      if (this.by && !columns.some(({ title }) => title === this.by)) this.by = null;
      this.draw();
    }

    /** The rows in the order chosen. */
    get sorted() {
      const column = this.columns.find(({ title }) => title === this.by);
      if (!column) return this.rows;
      const sign = this.down ? -1 : 1;
      return [...this.rows].sort((a, b) => {
        const [x, y] = [column.value(a), column.value(b)];
        return isMissing(x) || isMissing(y) ? compare(x, y) : sign * compare(x, y);
      });
    }

    get shown() { return this.all ? this.sorted : this.sorted.slice(0, this.limit); }

    sortBy(title) {
      // The first click on numbers shows the largest, on text the first of the alphabet; the third returns to the page's own order.
      const first = this.columns.find((column) => column.title === title).kind === "n";
      if (this.by !== title) [this.by, this.down] = [title, first];
      else if (this.down === first) this.down = !first;
      else this.by = null;
      this.draw();
    }

    draw() {
      const focused = this.table.contains(document.activeElement) ? document.activeElement.dataset.title : null;
      const head = this.columns.map((column) => {
        const isBy = column.title === this.by, button = el("button", { type: "button", title: column.hint || "" }, `${Charts.short(column.title, 26)}${isBy ? (this.down ? " ↓" : " ↑") : ""}`);
        button.dataset.title = column.title;
        button.addEventListener("click", () => this.sortBy(column.title));
        return el("th", { className: column.kind || "", scope: "col", "aria-sort": isBy ? (this.down ? "descending" : "ascending") : "none" }, column.title ? button : null);
      });
      const body = this.shown.map((row) => {
        const made = el("tr", {}, ...this.columns.map((column) => {
          const cell = el("td", { className: column.kind || "" }, column.show ? column.show(row) : String(column.value(row) ?? "–"));
          cell.dataset.name = column.title; // shown beside the value where there is no room for columns
          return cell;
        }));
        this.onRow(made, row);
        return made;
      });
      this.table.replaceChildren(el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
      if (focused) this.table.querySelector(`button[data-title="${CSS.escape(focused)}"]`)?.focus();
      this.more.hidden = this.rows.length <= this.limit;
      this.more.textContent = this.all ? `show ${this.limit}` : `show all ${count(this.rows.length)}`;
      this.save.hidden = !this.rows.length;
    }

    get csv() {
      // A spreadsheet would run a text that begins as a formula does: an apostrophe makes it text.
      const cell = (value) => {
        if (value === null || value === undefined) return "";
        if (typeof value !== "string") return String(value);
        const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
        return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
      };
      const lines = [this.columns.map(({ title }) => cell(title)), ...this.sorted.map((row) => this.columns.map((column) => cell(column.value(row))))];
      return lines.map((line) => line.join(",") + "\r\n").join("");
    }

    download() {
      const link = el("a", { href: URL.createObjectURL(new Blob([this.csv], { type: "text/csv" })), download: `${this.name()}.csv` });
      link.click();
      URL.revokeObjectURL(link.href);
    }
  }

  return { el, number, percent, count, plural, compare, shortNames, Table };
})();
