/// <reference lib="dom" />
import { make } from "./elements.ts";
import type { Group, Key, Model } from "./model.ts";
import { amount, amountChange, share } from "./numbers.ts";
import { excerptOf, lineOf } from "./source.ts";

/** Rows that are shown at first, and that a click adds. */
const page = 100;

/** What is to be shown. */
export interface Listing {
  readonly key: Key;
  readonly cumulative: boolean;
  readonly domains: ReadonlySet<number>;
  /** What a place must contain, in whatever case. */
  readonly filter: string;
}

interface Column {
  readonly title: string;
  readonly value: (group: Group) => number;
  readonly text: (group: Group) => string;
  /** Whether great changes are great in either direction. */
  readonly signed?: boolean;
}

const columns: readonly Column[] = [
  { title: "Size", value: ({ size }) => size, text: ({ size }) => amount(size, "size") },
  { title: "Blocks", value: ({ count }) => count, text: ({ count }) => amount(count, "count") },
  {
    title: "Average",
    value: ({ size, count }) => count === 0 ? 0 : size / count,
    text: ({ size, count }) => count === 0 ? "–" : amount(size / count, "size"),
  },
];

const changeColumns: readonly Column[] = [
  {
    title: "Change",
    value: ({ size, olderSize }) => size - olderSize,
    text: ({ size, olderSize }) => amountChange(size - olderSize, "size"),
    signed: true,
  },
  columns[0]!,
  {
    title: "Blocks ±",
    value: ({ count, olderCount }) => count - olderCount,
    text: ({ count, olderCount }) => amountChange(count - olderCount, "count"),
    signed: true,
  },
  columns[1]!,
];

/** Lines, files or tracebacks with their sums. */
export class Table {
  readonly #host: HTMLElement;
  readonly #model: Model;
  readonly #columns: readonly Column[];
  #sorted: Column;
  #descending = true;
  #listing: Listing | null = null;
  #groups: Group[] = [];
  #shown = page;

  constructor(host: HTMLElement, model: Model) {
    this.#host = host;
    this.#model = model;
    this.#columns = model.data.older === null ? columns : changeColumns;
    this.#sorted = this.#columns[0]!;
  }

  /** Shows, in the place of what was shown before. */
  show(listing: Listing): void {
    this.#listing = listing;
    const { key, cumulative, domains, filter } = listing;
    const places = this.#places(key, filter);
    this.#groups = this.#model.groups(key, cumulative, domains).filter(({ key }) =>
      places === null || places[key] === 1
    );
    this.#shown = page;
    this.#draw();
  }

  /** By key: 1 where a place contains the text; `null` where all do. */
  #places(key: Key, filter: string): Uint8Array | null {
    if (filter === "") return null;
    const wanted = filter.toLowerCase();
    if (key === "filename") {
      return Uint8Array.from(this.#model.data.filenames, (name) => name.toLowerCase().includes(wanted) ? 1 : 0);
    }
    const frames = this.#model.framesWith(filter);
    return key === "lineno" ? frames : this.#model.nodesWith(frames);
  }

  #draw(): void {
    const { key } = this.#listing!;
    const { value, signed } = this.#sorted;
    const order = (group: Group) => signed ? Math.abs(value(group)) : value(group);
    const sign = this.#descending ? 1 : -1;
    this.#groups.sort((a, b) => sign * (order(b) - order(a)) || b.size - a.size || b.count - a.count || a.key - b.key);
    const shown = this.#groups.slice(0, this.#shown);
    const most = Math.max(1, ...shown.map(order));
    const title = { lineno: "Line", filename: "File", traceback: "Traceback" }[key];
    const left = this.#groups.length - shown.length;
    this.#host.replaceChildren(
      make(
        "table",
        {},
        make(
          "caption",
          {},
          `${amount(this.#groups.length, "count")} ${title.toLowerCase()}${this.#groups.length === 1 ? "" : "s"}`,
        ),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            ...this.#columns.map((column) => this.#heading(column)),
            make("th", { scope: "col", class: "place" }, title),
          ),
        ),
        make("tbody", {}, ...shown.flatMap((group) => this.#row(group, key, order(group) / most))),
      ),
      ...(left === 0 ? [] : [
        make("button", {
          type: "button",
          class: "more",
          click: () => {
            this.#shown += 5 * page;
            this.#draw();
          },
        }, `Show more (${amount(left, "count")} left)`),
      ]),
    );
  }

  #heading(column: Column): HTMLElement {
    const sorted = column === this.#sorted;
    const direction = sorted ? this.#descending ? "descending" : "ascending" : "none";
    const mark = sorted ? this.#descending ? " ▾" : " ▴" : "";
    return make(
      "th",
      { scope: "col", "aria-sort": direction },
      make("button", {
        type: "button",
        "data-column": column.title,
        click: () => {
          this.#descending = sorted ? !this.#descending : true;
          this.#sorted = column;
          this.#draw();
          this.#host.querySelector<HTMLElement>(`[data-column="${column.title}"]`)?.focus();
        },
      }, `${column.title}${mark}`),
    );
  }

  #row(group: Group, key: Key, part: number): HTMLElement[] {
    const { data } = this.#model;
    const frame = key === "traceback" ? data.nodeFrame[group.key]! : group.key;
    const text = key === "filename" ? data.filenames[group.key]! : this.#model.labels[frame]!;
    const change = group.size - group.olderSize;
    const cells = this.#columns.map((column) =>
      make("td", {
        class: `number${
          column.signed ? column.value(group) > 0 ? " grown" : column.value(group) < 0 ? " shrunk" : "" : ""
        }`,
      }, column.text(group))
    );
    const bar = make("span", {
      class: data.older === null ? "bar" : change < 0 ? "bar shrunk" : "bar grown",
      "aria-hidden": "true",
    });
    bar.style.width = `${100 * part}%`;
    const opens = key !== "filename";
    const details = make("tr", { class: "details", hidden: true });
    const toggle = (event: Event) => {
      const open = details.hidden;
      details.hidden = !open;
      (event.currentTarget as HTMLElement).setAttribute("aria-expanded", String(open));
      if (open && details.childElementCount === 0) details.append(this.#details(group, key));
    };
    const line = key === "filename" ? "" : lineOf(this.#model, frame);
    const place = make(
      "td",
      { class: "place" },
      bar,
      opens
        ? make("button", { type: "button", "aria-expanded": "false", click: toggle }, text)
        : make("span", {}, text),
      ...(line === "" ? [] : [make("code", {}, line)]),
    );
    return [make("tr", {}, ...cells, place), ...(opens ? [details] : [])];
  }

  /** The source around a line, or all frames of a traceback, the oldest first as in Python. */
  #details(group: Group, key: Key): HTMLElement {
    const { data, labels } = this.#model;
    const cell = make("td", { colspan: this.#columns.length + 1 });
    if (key === "lineno") {
      cell.append(excerptOf(this.#model, group.key) ?? make("p", {}, "The source of this line is not in the report."));
      return cell;
    }
    const { size } = group;
    const frames = this.#model.pathOf(group.key).map((node) => data.nodeFrame[node]!);
    cell.append(
      make(
        "p",
        {},
        `${frames.length} frames, the most recent last; ${share(size, data.size.reduce((a, b) => a + b, 0))} of all`,
      ),
      make(
        "ol",
        { class: "frames" },
        ...frames.map((frame) =>
          make("li", {}, make("span", {}, labels[frame]!), make("code", {}, lineOf(this.#model, frame)))
        ),
      ),
    );
    return cell;
  }
}
