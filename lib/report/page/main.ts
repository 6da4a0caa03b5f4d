/// <reference lib="dom" />
import { domainName } from "../../model/domain.ts";
import type { PageData, PageSnapshot } from "../page_data.ts";
import { choice, later, make } from "./elements.ts";
import { FlameGraph } from "./flame_graph.ts";
import { type Key, type Measure, Model, type View } from "./model.ts";
import { amount, amountChange, share } from "./numbers.ts";
import { excerptOf } from "./source.ts";
import { Table } from "./table.ts";

type Colour = "package" | "domain" | "change";

/** So many packages have colours of their own. */
const hues = [212, 28, 146, 276, 48, 338, 178, 100, 312, 0] as const;

/** All of the page; what is chosen stands in its fields, and `#update` shows it. */
class Page {
  readonly #data: PageData;
  readonly #model: Model;
  readonly #graph: FlameGraph;
  readonly #table: Table;
  readonly #details: HTMLElement;
  readonly #legend: HTMLElement;
  readonly #found: HTMLOutputElement;
  readonly #path: HTMLElement;
  /** By number of the package: its hue, or -1. */
  readonly #packageHue: number[];
  #view: View = "newer";
  #measure: Measure = "size";
  #colour: Colour = "package";
  #flame = true;
  #search = "";
  #zoom = 0;
  #key: Key = "lineno";
  #cumulative = false;
  #filter = "";
  readonly #domains: Set<number>;
  #weights: ReturnType<Model["weigh"]>;

  constructor(data: PageData) {
    this.#data = data;
    const model = this.#model = new Model(data);
    this.#domains = new Set(model.domains);
    if (data.older !== null) [this.#view, this.#colour] = ["change", "change"];
    this.#packageHue = this.#choosePackageHues();
    this.#weights = model.weigh(this.#view, this.#measure, this.#domains);

    const graph = make("div", { class: "graph", id: "graph" });
    const table = make("div", { class: "listing" });
    this.#details = make("div", { class: "selected", id: "selected" });
    this.#legend = make("ul", { class: "legend", "aria-label": "Colours" });
    this.#found = make("output", { class: "matches", id: "found" });
    this.#path = make("nav", { class: "path", id: "path", "aria-label": "Zoomed into" });
    document.body.replaceChildren(
      this.#header(),
      make(
        "main",
        {},
        make(
          "section",
          { "aria-labelledby": "graph-title" },
          make("h2", { id: "graph-title" }, "Where it was allocated"),
          this.#graphControls(),
          this.#legend,
          this.#path,
          graph,
          this.#details,
          make("p", { class: "hint" }, "Click or Enter zooms in, Escape out; arrow keys go from frame to frame."),
        ),
        make(
          "section",
          { "aria-labelledby": "table-title" },
          make("h2", { id: "table-title" }, "Lines, files, tracebacks"),
          this.#tableControls(),
          table,
        ),
      ),
    );
    this.#graph = new FlameGraph(graph, model, {
      look: (node) => this.#show(node),
      zoom: (node) => {
        this.#zoom = node;
        this.#drawGraph();
      },
    });
    this.#table = new Table(table, model);
    addEventListener("resize", later(() => this.#graph.redraw()));
    this.#update();
  }

  /** The largest packages, the program's first. */
  #choosePackageHues(): number[] {
    const { data, filePackage, packages } = this.#model;
    const sums = packages.map(() => 0);
    data.node.forEach((node, row) => {
      sums[filePackage[data.frameFilename[data.nodeFrame[node]!]!]!]! += data.size[row]! + (data.olderSize[row] ?? 0);
    });
    const order = packages.map((_, i) => i).sort((a, b) =>
      Number(packages[b] === "the program") - Number(packages[a] === "the program") || sums[b]! - sums[a]!
    );
    const chosen = packages.map(() => -1);
    order.slice(0, hues.length).forEach((number, i) => chosen[number] = hues[i]!);
    return chosen;
  }

  #header(): HTMLElement {
    const { newer, older, size, count, olderSize, olderCount } = this.#data;
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    const bytes = sum(size), blocks = sum(count);
    const card = (title: string, value: string, note = "", kind = "") =>
      make("div", { class: `card ${kind}` }, make("dt", {}, title), make("dd", {}, value, make("small", {}, note)));
    const cards = [
      card("Size", amount(bytes, "size"), `${amount(bytes, "count")} bytes`),
      card("Blocks", amount(blocks, "count"), blocks === 0 ? "" : `${amount(bytes / blocks, "size")} on average`),
    ];
    if (older !== null) {
      const change = bytes - sum(olderSize), blockChange = blocks - sum(olderCount);
      const kind = (value: number) => value > 0 ? "grown" : value < 0 ? "shrunk" : "";
      cards.unshift(
        card(
          "Size has changed by",
          amountChange(change, "size"),
          `${share(change, sum(olderSize))} of ${amount(sum(olderSize), "size")}`,
          kind(change),
        ),
        card(
          "Blocks have changed by",
          amountChange(blockChange, "count"),
          `from ${amount(sum(olderCount), "count")}`,
          kind(blockChange),
        ),
      );
    } else {
      cards.push(
        card(
          "Lines",
          amount(this.#model.groups("lineno", false, this.#domains).length, "count"),
          `${amount(this.#model.groups("filename", false, this.#domains).length, "count")} files`,
        ),
        card("Tracebacks", amount(new Set(this.#data.node).size, "count")),
      );
    }
    return make(
      "header",
      {},
      make("h1", {}, "Memory in use ", make("span", {}, older === null ? newer.name : `${older.name} → ${newer.name}`)),
      make("dl", { class: "cards" }, ...cards),
      make(
        "details",
        { class: "about" },
        make("summary", {}, "About the snapshot", older === null ? "" : "s"),
        make("div", {}, ...[older, newer].filter((snapshot) => snapshot !== null).map(facts)),
      ),
    );
  }

  #graphControls(): HTMLElement {
    const views = [["change", "Change"], ["newer", "Newer"], ["older", "Older"]] as const;
    const colours = [["package", "Package"], ["domain", "Domain"], ["change", "Change"]] as const;
    const compared = this.#data.older !== null;
    return make(
      "form",
      { class: "controls", submit: (event) => event.preventDefault() },
      ...(compared
        ? [choice("Show", views, this.#view, (view) => {
          this.#view = view;
          this.#update();
        })]
        : []),
      choice("Layout", [["flame", "Flame"], ["icicle", "Icicle"]], "flame", (layout) => {
        this.#flame = layout === "flame";
        this.#drawGraph();
      }),
      choice("Width", [["size", "Bytes"], ["count", "Blocks"]], this.#measure, (measure) => {
        this.#measure = measure;
        this.#update();
      }),
      choice("Colour", compared ? colours : colours.slice(0, 2), this.#colour, (colour) => {
        this.#colour = colour;
        this.#drawGraph();
      }),
      ...(this.#model.domains.length > 1 ? [this.#domainControls()] : []),
      make(
        "label",
        { class: "search" },
        "Search",
        make("input", {
          type: "search",
          id: "search",
          placeholder: "file or line",
          input: (event) => {
            this.#search = (event.target as HTMLInputElement).value.trim();
            this.#drawGraph();
          },
        }),
        this.#found,
      ),
    );
  }

  #domainControls(): HTMLElement {
    return make(
      "fieldset",
      { class: "domains" },
      make("legend", {}, "Domains"),
      ...this.#model.domains.map((domain) =>
        make(
          "label",
          {},
          make("input", {
            type: "checkbox",
            checked: true,
            change: (event) => {
              if ((event.target as HTMLInputElement).checked) this.#domains.add(domain);
              else this.#domains.delete(domain);
              this.#update();
            },
          }),
          domainName(domain),
        )
      ),
    );
  }

  #tableControls(): HTMLElement {
    const cumulative = make("input", {
      type: "checkbox",
      id: "cumulative",
      change: (event) => {
        this.#cumulative = (event.target as HTMLInputElement).checked;
        this.#showTable();
      },
    });
    const filter = later(() => this.#showTable());
    return make(
      "form",
      { class: "controls", submit: (event) => event.preventDefault() },
      choice("By", [["lineno", "Line"], ["filename", "File"], ["traceback", "Traceback"]], this.#key, (key) => {
        this.#key = key;
        // A traceback has all of its lines already.
        cumulative.disabled = key === "traceback";
        this.#showTable();
      }),
      make("label", { class: "switch" }, cumulative, "cumulative: count a block for every line of its traceback"),
      make(
        "label",
        { class: "search" },
        "Filter",
        make("input", {
          type: "search",
          id: "filter",
          placeholder: "file or line",
          input: (event) => {
            this.#filter = (event.target as HTMLInputElement).value.trim();
            filter();
          },
        }),
      ),
    );
  }

  /** Shows what is chosen. */
  #update(): void {
    this.#weights = this.#model.weigh(this.#view, this.#measure, this.#domains);
    if (this.#weights.total[this.#zoom] === 0) this.#zoom = 0;
    this.#drawGraph();
    this.#showTable();
  }

  #showTable(): void {
    const cumulative = this.#cumulative && this.#key !== "traceback";
    this.#table.show({ key: this.#key, cumulative, domains: this.#domains, filter: this.#filter });
  }

  #drawGraph(): void {
    const found = this.#search === "" ? null : this.#model.framesWith(this.#search);
    this.#graph.draw({
      weights: this.#weights,
      zoom: this.#zoom,
      flame: this.#flame,
      found,
      paint: (element, node) => this.#paint(element, node),
      describe: (node) => `${this.#label(node)}, ${this.#numbers(node)}`,
    });
    this.#sayFound(found);
    this.#showLegend();
    this.#showPath();
    this.#show(null);
  }

  #paint(element: SVGGElement, node: number): void {
    const { style } = element;
    if (this.#colour === "change") {
      const change = this.#weights.change[node]!, total = this.#weights.total[node]!;
      style.setProperty("--to", change < 0 ? "var(--shrunk)" : "var(--grown)");
      style.setProperty("--part", `${Math.round(100 * (total === 0 ? 0 : Math.min(1, Math.abs(change) / total)))}%`);
      element.classList.add("changed");
      return;
    }
    const file = node === 0 ? -1 : this.#data.frameFilename[this.#data.nodeFrame[node]!]!;
    const byPackage = this.#colour === "package";
    const hue = file < 0
      ? -1
      : byPackage
      ? this.#packageHue[this.#model.filePackage[file]!]!
      : hues[this.#model.nodeDomain[node]! % hues.length]!;
    // Files of one package are told apart by shades of its colour.
    style.setProperty("--shade", `${byPackage ? file * 7 % 5 * 2.5 - 5 : 0}%`);
    style.setProperty("--hue", `${hue}`);
    if (hue < 0) element.classList.add("plain");
  }

  #label(node: number): string {
    return node === 0 ? "all" : this.#model.labels[this.#data.nodeFrame[node]!]!;
  }

  #numbers(node: number): string {
    const { total, self, change } = this.#weights;
    const measure = this.#measure, unit = measure === "count" ? " blocks" : "";
    const whole = `${amount(total[node]!, measure)}${unit}`;
    const parts = [this.#view === "change" ? `${whole} changed` : whole, `${share(total[node]!, total[0]!)} of all`];
    if (self[node] !== 0 && self[node] !== total[node]) parts.push(`${amount(self[node]!, measure)} by itself`);
    if (this.#data.older !== null) parts.push(`${amountChange(change[node]!, measure)}${unit} in sum`);
    return parts.join(", ");
  }

  /** Shows what a frame is; where there is none, the zoomed one. */
  #show(looked: number | null): void {
    const node = looked ?? this.#zoom;
    const excerpt = node === 0 ? null : excerptOf(this.#model, this.#data.nodeFrame[node]!);
    this.#details.replaceChildren(
      make("div", {}, make("strong", {}, this.#label(node)), make("span", {}, this.#numbers(node))),
      ...(excerpt === null ? [] : [excerpt]),
    );
  }

  #sayFound(found: Uint8Array | null): void {
    if (found === null) {
      this.#found.value = "";
      return;
    }
    const nodes = this.#model.nodesWith(found);
    const { self, total } = this.#weights;
    let sum = 0;
    for (let node = 0; node < nodes.length; node++) if (nodes[node] === 1) sum += self[node]!;
    const lines = found.reduce((a, b) => a + b, 0);
    this.#found.value = `${amount(lines, "count")} line${lines === 1 ? "" : "s"}: ${amount(sum, this.#measure)}, ${
      share(sum, total[0]!)
    }`;
  }

  #showLegend(): void {
    const item = (text: string, hue: number | null, kind = "") => {
      const swatch = make("span", { class: `swatch ${kind}${hue === -1 ? "plain" : ""}`, "aria-hidden": "true" });
      if (hue !== null) swatch.style.setProperty("--hue", `${hue}`);
      return make("li", {}, swatch, text);
    };
    const { packages, domains } = this.#model;
    const others = this.#packageHue.some((hue) => hue === -1);
    this.#legend.replaceChildren(...{
      package: () => [
        ...hues.map((hue) => this.#packageHue.indexOf(hue)).filter((number) => number >= 0)
          .map((number) => item(packages[number]!, this.#packageHue[number]!)),
        ...(others ? [item("others", -1)] : []),
      ],
      domain: () => domains.map((domain, i) => item(domainName(domain), hues[i % hues.length]!)),
      change:
        () => [item("grown", null, "grown"), item("shrunk", null, "shrunk"), item("no change in sum", null, "same")],
    }[this.#colour]());
  }

  #showPath(): void {
    const nodes = this.#zoom === 0 ? [] : [0, ...this.#model.pathOf(this.#zoom)];
    this.#path.hidden = nodes.length === 0;
    this.#path.replaceChildren(
      ...nodes.slice(0, -1).map((node) =>
        make("button", {
          type: "button",
          click: () => {
            this.#zoom = node;
            this.#drawGraph();
          },
        }, node === 0 ? "all" : this.#model.shortLabels[this.#data.nodeFrame[node]!]!)
      ),
      make(
        "span",
        { "aria-current": "true" },
        nodes.length === 0 ? "" : this.#model.shortLabels[this.#data.nodeFrame[this.#zoom]!]!,
      ),
    );
  }
}

function facts({ name, facts, createdAt }: PageSnapshot): HTMLElement {
  const created = createdAt === null ? [] : [["created", new Date(createdAt).toLocaleString()] as const];
  return make(
    "table",
    {},
    make("caption", {}, name),
    make(
      "tbody",
      {},
      ...[...created, ...facts].map(([what, value]) =>
        make("tr", {}, make("th", { scope: "row" }, what), make("td", {}, value))
      ),
    ),
  );
}

new Page(JSON.parse(document.getElementById("data")!.textContent!) as PageData);
