import { statSync } from "node:fs";
import { isatty } from "node:tty";
import { printError } from "./output.ts";

/** Milliseconds after which a bar appears, and between two changes of it. */
const DELAY = 1000;
const INTERVAL = 100;
const WIDTH = 30;

/** Where a bar is shown, and what time it is; so that tests can do without a terminal and without waiting. */
export interface ProgressHost {
  /** Shows text on the terminal. */
  readonly show: (text: string) => void;
  /** Milliseconds since any moment. */
  readonly now: () => number;
}

/** A bar on the terminal for what takes more than a second. */
export class Progress {
  readonly #total: number;
  readonly #host: ProgressHost | null;
  #next: number;
  #visible = false;

  /**
   * @param total Bytes that are to be read.
   * @param host `null`: nothing is shown.
   */
  constructor(total: number, host: ProgressHost | null) {
    this.#total = total;
    this.#host = total > 0 ? host : null;
    this.#next = host === null ? 0 : host.now() + DELAY;
  }

  /** Says how many bytes were read. */
  advance(bytes: number): void {
    const host = this.#host;
    if (host === null || host.now() < this.#next) return;
    this.#next = host.now() + INTERVAL;
    this.#visible = true;
    const part = Math.min(1, bytes / this.#total);
    const full = Math.floor(part * WIDTH);
    host.show(`\r[${"#".repeat(full)}${" ".repeat(WIDTH - full)}] ${`${Math.floor(100 * part)}`.padStart(3)} %`);
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#visible) this.#host!.show(`\r${" ".repeat(WIDTH + 8)}\r`);
    this.#visible = false;
  }
}

/** The progress of reading files, shown where standard error is a terminal. */
export function progressOf(paths: readonly string[]): Progress {
  const host = isatty(2) ? { show: printError, now: () => performance.now() } : null;
  // What cannot be found counts nothing here: opening it will say so.
  const sizes = host === null ? [] : paths.map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  return new Progress(sizes.reduce((sum, size) => sum + size, 0), host);
}
