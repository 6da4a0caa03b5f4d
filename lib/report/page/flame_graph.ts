/// <reference lib="dom" />
import { hierarchy, partition } from "d3-hierarchy";
import { select, type Selection } from "d3-selection";
import type { Model, Weights } from "./model.ts";

const rowHeight = 22;
/** What is narrower, in pixels, is not drawn until it is zoomed into. */
const leastWidth = 1;
/** So many levels below the zoomed one are drawn at once. */
const mostLevels = 300;
/** Of the font in style.css. */
const characterWidth = 6.65;

/** What is to be drawn. */
export interface Drawing {
  readonly weights: Weights;
  /** The node that is as wide as the graph. */
  readonly zoom: number;
  /** Whether the oldest frames are at the bottom, and not at the top as in an icicle. */
  readonly flame: boolean;
  /** By frame: 1 where the search has found it; `null` where nothing is searched. */
  readonly found: Uint8Array | null;
  /** Paints the box of a node. */
  readonly paint: (element: SVGGElement, node: number) => void;
  /** What a node is, for who does not see it. */
  readonly describe: (node: number) => string;
}

/** Who wants to know what a user does. */
export interface Listener {
  /** A frame is pointed at or focused; `null`: none is. */
  look(node: number | null): void;
  /** A frame shall be as wide as the graph. */
  zoom(node: number): void;
}

/** What d3 lays out: only what is wide enough to be seen, so that a click costs as much as it shows. */
interface Box {
  readonly node: number;
  readonly depth: number;
  children?: readonly Box[];
}

/** A box with its place. */
interface Placed {
  readonly node: number;
  readonly depth: number;
  readonly x0: number;
  readonly x1: number;
}

/** Frames as boxes on top of each other, as wide as what goes through them weighs. */
export class FlameGraph {
  readonly #model: Model;
  readonly #listener: Listener;
  readonly #svg: Selection<SVGSVGElement, unknown, null, undefined>;
  readonly #host: HTMLElement;
  #placed: readonly Placed[] = [];
  #drawing: Drawing | null = null;
  #focused = 0;

  constructor(host: HTMLElement, model: Model, listener: Listener) {
    this.#host = host;
    this.#model = model;
    this.#listener = listener;
    this.#svg = select(host).append("svg").attr("role", "tree").attr("aria-label", "Flame graph");
    const nodeAt = (event: Event) => {
      const box = (event.target as Element).closest<SVGGElement>("g.frame");
      return box === null ? null : select<SVGGElement, Placed>(box).datum().node;
    };
    this.#svg
      .on("mouseover", (event: Event) => listener.look(nodeAt(event)))
      .on("mouseleave", () => listener.look(null))
      .on("focusin", (event: Event) => {
        const node = nodeAt(event);
        if (node !== null) this.#focus(node);
        listener.look(node);
      })
      .on("click", (event: Event) => {
        const node = nodeAt(event);
        if (node !== null) listener.zoom(node);
      })
      .on("keydown", (event: KeyboardEvent) => this.#press(event));
  }

  /** Draws, in the place of what was drawn before. */
  draw(drawing: Drawing): void {
    this.#drawing = drawing;
    const { weights: { total }, zoom, flame, found, paint, describe } = drawing;
    const { nodeParent, nodeFrame } = this.#model.data;
    const width = Math.max(this.#host.clientWidth, 200);
    const above = this.#model.pathOf(zoom).length;
    const root = hierarchy<Box>(
      { node: zoom, depth: above },
      (box) => box.children = this.#wideChildren(box, above, width),
    )
      // A node is as wide as its total; what its drawn children lack of that stays empty.
      .sum(({ node, children }) => total[node]! - (children ?? []).reduce((sum, child) => sum + total[child.node]!, 0));
    const placed = partition<Box>().size([width, 1])(root).descendants()
      .map(({ data: { node, depth }, x0, x1 }): Placed => ({ node, depth, x0, x1 }));
    // Those above the zoomed one are as wide as it, and end what can be clicked to get back.
    for (let node = zoom, depth = above; depth > 0;) {
      node = nodeParent[node]!;
      placed.push({ node, depth: --depth, x0: 0, x1: width });
    }
    this.#placed = placed;
    if (!placed.some(({ node }) => node === this.#focused)) this.#focused = zoom;
    const hadFocus = this.#svg.node()!.contains(document.activeElement);
    const levels = 1 + placed.reduce((most, { depth }) => Math.max(most, depth), 0);
    const y = (depth: number) => (flame ? levels - 1 - depth : depth) * rowHeight;
    const { shortLabels } = this.#model;
    this.#svg.attr("width", width).attr("height", levels * rowHeight)
      .selectAll<SVGGElement, Placed>("g.frame")
      .data(placed, ({ node }) => node)
      .join((enter) => {
        const box = enter.append("g").attr("role", "treeitem");
        box.append("rect").attr("height", rowHeight - 1);
        box.append("text").attr("x", 4).attr("y", 15);
        return box;
      })
      .attr("transform", ({ x0, depth }) => `translate(${x0},${y(depth)})`)
      .attr("class", ({ node, depth }) => {
        const matches = node !== 0 && found !== null && found[nodeFrame[node]!] === 1;
        return `frame${depth < above ? " above" : ""}${found === null ? "" : matches ? " found" : " other"}`;
      })
      .attr("tabindex", ({ node }) => node === this.#focused ? 0 : -1)
      .attr("aria-level", ({ depth }) => depth + 1)
      .attr("aria-label", ({ node }) => describe(node))
      .attr("data-node", ({ node }) => node)
      .each(function ({ node, x0, x1 }) {
        paint(this, node);
        const boxWidth = x1 - x0;
        this.firstElementChild!.setAttribute("width", `${Math.max(boxWidth - (boxWidth > 3 ? 1 : 0.2), 0.5)}`);
        this.lastElementChild!.textContent = fit(node === 0 ? "all" : shortLabels[nodeFrame[node]!]!, boxWidth);
      });
    // What is put into another order loses it.
    if (hadFocus) this.#elementOf(this.#focused)?.focus({ preventScroll: true });
  }

  /** Draws the same again, for a window of another width. */
  redraw(): void {
    if (this.#drawing !== null) this.draw(this.#drawing);
  }

  #wideChildren({ node, depth }: Box, above: number, width: number): Box[] {
    const { weights: { total }, zoom } = this.#drawing!;
    const least = total[zoom]! * leastWidth / width;
    if (depth - above >= mostLevels) return [];
    return [...this.#model.childrenOf(node)].filter((child) => total[child]! > 0 && total[child]! >= least)
      .sort((a, b) => total[b]! - total[a]! || a - b)
      .map((child) => ({ node: child, depth: depth + 1 }));
  }

  #press(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { flame, zoom } = this.#drawing!;
    const current = this.#placed.find(({ node }) => node === this.#focused);
    if (current === undefined) return;
    const key = flame ? { ArrowUp: "ArrowDown", ArrowDown: "ArrowUp" }[event.key] ?? event.key : event.key;
    const { node, depth } = current, { nodeParent } = this.#model.data;
    const level = (wanted: number) =>
      this.#placed.filter((other) => other.depth === wanted).sort((a, b) => a.x0 - b.x0).map(({ node }) => node);
    const beside = (step: number) => level(depth)[level(depth).indexOf(node) + step];
    let target: number | undefined;
    switch (key) {
      case "ArrowDown":
        target = level(depth + 1).find((other) => nodeParent[other] === node);
        break;
      case "ArrowUp":
        if (node !== 0) target = nodeParent[node];
        break;
      case "ArrowLeft":
        target = beside(-1);
        break;
      case "ArrowRight":
        target = beside(1);
        break;
      case "Home":
        target = 0;
        break;
      case "Enter":
      case " ":
        this.#listener.zoom(node);
        break;
      case "Escape":
        if (zoom !== 0) this.#listener.zoom(nodeParent[zoom]!);
        break;
      default:
        return;
    }
    event.preventDefault();
    if (target !== undefined) this.#elementOf(target)?.focus();
  }

  #focus(node: number): void {
    this.#elementOf(this.#focused)?.setAttribute("tabindex", "-1");
    this.#focused = node;
    this.#elementOf(node)?.setAttribute("tabindex", "0");
  }

  #elementOf(node: number): SVGGElement | null {
    return this.#svg.node()!.querySelector<SVGGElement>(`[data-node="${node}"]`);
  }
}

/** As much of a text as there is room for. */
function fit(text: string, width: number): string {
  const characters = Math.floor((width - 8) / characterWidth);
  if (characters < 3) return "";
  return text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;
}
