/** The terminal view of `run --live`: sizes and top lines of the program that runs, until it ends. */
import process from "node:process";
import { isatty } from "node:tty";
import { formatInteger, formatSize } from "../model/format_number.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { StatisticDiff } from "../model/statistic_diff.ts";
import { printError } from "./output.ts";
import { statisticsTable } from "./statistics_table.ts";
import { printable, shorten, styled, type Terminal, wantsColour } from "./terminal.ts";

const orders = {
  size: (a: StatisticDiff, b: StatisticDiff) => b.size - a.size,
  blocks: (a: StatisticDiff, b: StatisticDiff) => b.count - a.count,
  change: (a: StatisticDiff, b: StatisticDiff) => Math.abs(b.sizeDiff) - Math.abs(a.sizeDiff),
} as const;
type Order = keyof typeof orders;

/** What the view shows; one that is redrawn after everything that happens. */
export class LiveScreen {
  readonly #title: string;
  readonly #save: (snapshot: Snapshot) => string;
  /** What `change` counts from. */
  #base: Snapshot | null = null;
  #shown: Snapshot | null = null;
  /** What came while the view was frozen. */
  #latest: Snapshot | null = null;
  #differences: StatisticDiff[] = [];
  #order: Order = "size";
  #frozen = false;
  #peak = 0;
  #said = "";
  #output: string[] = [""];

  /**
   * @param title What runs.
   * @param save Writes a snapshot, and says where it is.
   */
  constructor(title: string, save: (snapshot: Snapshot) => string) {
    this.#title = title;
    this.#save = save;
  }

  /** Shows a snapshot, unless the view is frozen. */
  update(snapshot: Snapshot): void {
    this.#latest = snapshot;
    const size = snapshot.statistics("filename").reduce((sum, { size }) => sum + size, 0);
    this.#peak = Math.max(this.#peak, size);
    if (!this.#frozen) this.#show(snapshot);
  }

  /** Shows the last lines of what the program writes. */
  write(text: string): void {
    const [first = "", ...rest] = text.split("\n");
    this.#output.push(this.#output.pop()! + first, ...rest);
    this.#output.splice(0, this.#output.length - 5);
  }

  /** Does what a key is for; keys that are for nothing do nothing. */
  press(key: string): void {
    this.#said = "";
    const names = Object.keys(orders) as Order[];
    if (key === "s") this.#order = names[(names.indexOf(this.#order) + 1) % names.length]!;
    if (key === "f") {
      this.#frozen = !this.#frozen;
      if (!this.#frozen && this.#latest !== null) this.#show(this.#latest);
    }
    if (key === "r" && this.#shown !== null) {
      this.#base = this.#shown;
      this.#show(this.#shown);
    }
    if (key === "t") {
      this.#said = this.#shown === null ? "there is no snapshot yet" : `The snapshot is in ${this.#save(this.#shown)}.`;
    }
  }

  /** The lines to be shown, as many as fit. */
  text({ width, colour }: Terminal, height: number): string[] {
    const total = { size: 0, count: 0, sizeDiff: 0, countDiff: 0 };
    for (const difference of this.#differences) addTo(total, difference);
    const state = this.#frozen ? "frozen" : this.#shown === null ? "waiting for the first snapshot" : "live";
    const head = [
      styled(shorten(`${printable(this.#title)}  ${state}`, width, "end"), "bold", colour),
      shorten(
        `current ${formatSize(total.size)}  peak seen ${formatSize(this.#peak)}  blocks ${formatInteger(total.count)}`,
        width,
        "end",
      ),
    ];
    const output = this.#output.filter((line) => line !== "").slice(-4)
      .map((line) => styled(shorten(printable(line), width, "end"), "dim", colour));
    const help =
      `s sort (${this.#order})  f ${this.#frozen ? "go on" : "freeze"}  t take a snapshot  r changes from here  ` +
      "q close  Ctrl-C interrupt";
    const foot = [...output, shorten(this.#said === "" ? help : printable(this.#said), width, "end")];
    const room = height - head.length - foot.length;
    const sorted = [...this.#differences].filter(({ count, countDiff }) => count !== 0 || countDiff !== 0)
      .sort(orders[this.#order]);
    const table = (rows: number) => {
      const others = { size: 0, count: 0, sizeDiff: 0, countDiff: 0 };
      for (const difference of sorted.slice(rows)) addTo(others, difference);
      return statisticsTable(sorted.slice(0, rows), {
        title: `Lines by ${this.#order}`,
        keyType: "lineno",
        total,
        others: { groups: Math.max(0, sorted.length - rows), sum: others },
      }, { width, colour }).trimEnd().split("\n");
    };
    // Some rows have a source line below them: as many as there is room for.
    let rows = Math.max(0, room - 4), middle = table(rows);
    while (middle.length > room && rows > 0) {
      rows = Math.max(0, rows - Math.ceil((middle.length - room) / 2));
      middle = table(rows);
    }
    middle.length = Math.min(middle.length, Math.max(0, room));
    return [...head, ...middle, ...Array(Math.max(0, room - middle.length)).fill(""), ...foot];
  }

  #show(snapshot: Snapshot): void {
    this.#shown = snapshot;
    this.#base ??= snapshot;
    this.#differences = snapshot.compareTo(this.#base, "lineno");
  }
}

type Sums = { -readonly [Name in "size" | "count" | "sizeDiff" | "countDiff"]: number };

function addTo(sums: Sums, { size, count, sizeDiff, countDiff }: Readonly<Sums>): void {
  sums.size += size;
  sums.count += count;
  sums.sizeDiff += sizeDiff;
  sums.countDiff += countDiff;
}

/** Bytes of the program's output that are kept, to be written when the view is closed. */
const mostOutput = 2 ** 20;

/** Whether there is a terminal to show it in, and to press keys at. */
export function canShowLive(): boolean {
  return isatty(0) && isatty(2);
}

/** The terminal while the view is open. */
export class LiveView {
  readonly #screen: LiveScreen;
  readonly #interrupt: (signal: NodeJS.Signals) => void;
  #output: { readonly file: 1 | 2; readonly bytes: Uint8Array }[] = [];
  #kept = 0;
  #open = true;
  readonly #draw = () => this.#redraw();
  readonly #press = (keys: Uint8Array) => {
    for (const key of new TextDecoder().decode(keys)) {
      // The terminal leaves to us what it would have sent as signals.
      if (key === "\x03") this.#interrupt("SIGINT");
      else if (key === "\x1c") this.#interrupt("SIGQUIT");
      else if (key === "q") this.close();
      else this.#screen.press(key);
    }
    this.#redraw();
  };

  /**
   * Opens it: on the terminal's other screen, so that what was there before is there again after it.
   *
   * @param interrupt Sends the program a signal.
   */
  constructor(screen: LiveScreen, interrupt: (signal: NodeJS.Signals) => void) {
    this.#screen = screen;
    this.#interrupt = interrupt;
    printError("\x1b[?1049h\x1b[?25l");
    process.stdin.setRawMode(true);
    process.stdin.on("data", this.#press);
    process.stdin.resume();
    process.on("SIGWINCH", this.#draw);
    this.#redraw();
  }

  /** Shows a snapshot. */
  update(snapshot: Snapshot): void {
    this.#screen.update(snapshot);
    this.#redraw();
  }

  /** Takes what the program writes: the last of it is shown, and written once the view is closed. */
  write(file: 1 | 2, bytes: Uint8Array): void {
    if (!this.#open) {
      (file === 1 ? process.stdout : process.stderr).write(bytes);
      return;
    }
    this.#output.push({ file, bytes });
    this.#kept += bytes.length;
    while (this.#kept > mostOutput) this.#kept -= this.#output.shift()!.bytes.length;
    this.#screen.write(new TextDecoder().decode(bytes));
    this.#redraw();
  }

  /** Gives the terminal back as it was; the program goes on. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    process.off("SIGWINCH", this.#draw);
    process.stdin.off("data", this.#press);
    process.stdin.setRawMode(false);
    process.stdin.pause();
    process.stdin.unref?.();
    printError("\x1b[?25h\x1b[?1049l");
    for (const { file, bytes } of this.#output) (file === 1 ? process.stdout : process.stderr).write(bytes);
    this.#output = [];
  }

  #redraw(): void {
    if (!this.#open) return;
    const { columns, rows } = process.stderr;
    const width = columns || 80, height = rows || 24;
    const lines = this.#screen.text({ width, colour: wantsColour() }, height).slice(0, height);
    printError(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`);
  }
}
