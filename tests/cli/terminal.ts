import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { root, runtimeCommand } from "./runtimes.ts";

/** Whether there is a tmux to test in. */
export const hasTmux: boolean = spawnSync("tmux", ["-V"]).status === 0;

/** Milliseconds to wait for what must come. */
const timeLimit = 120_000;

/** A real terminal, that of tmux, with a shell in it in which `tracemalloc` is the command line of this runtime. */
export class Terminal {
  readonly #folder = mkdtempSync(join(tmpdir(), "tracemalloc-tmux-"));
  #commands = 0;

  /**
   * @param environment Shell assignments, such as `NO_COLOR=1`.
   */
  constructor(width: number, height: number, environment = "") {
    const profile = join(this.#folder, "profile");
    const command = [...runtimeCommand(), `${root}cli.ts`].join(" ");
    writeFileSync(
      profile,
      `unset NO_COLOR\nexport PATH='${root}node_modules/.bin':$PATH TERM=screen-256color LC_ALL=C.UTF-8 ${environment}
NUMBER=0 PS1='ready $? $NUMBER> '\ntracemalloc() { ${command} "$@"; }\n`,
    );
    this.#tmux(
      "-f",
      "/dev/null",
      "new-session",
      "-d",
      "-x",
      `${width}`,
      "-y",
      `${height}`,
      `bash --noprofile --rcfile '${profile}'`,
    );
  }

  /** Types a command and waits for its end. */
  async run(command: string): Promise<string> {
    const number = ++this.#commands;
    // The prompt says which command has ended, and not the one before it.
    this.type(`NUMBER=${number}; clear; ${command}`);
    this.press("Enter");
    const prompt = new RegExp(`\nready \\d+ ${number}>$`);
    await this.until(prompt);
    return this.screen().replace(prompt, "\n");
  }

  /** Types text. */
  type(text: string): void {
    this.#tmux("send-keys", "-l", text);
  }

  /** Presses a key by tmux's name for it: `Enter`, `C-c`. */
  press(key: string): void {
    this.#tmux("send-keys", key);
  }

  /** What is on the screen, without what follows the last line; with escape sequences for colours if asked for. */
  screen(colours = false): string {
    return this.#tmux("capture-pane", "-p", ...(colours ? ["-e"] : [])).trimEnd();
  }

  /** Whether any line did not fit, and goes on in the next. */
  get wrapped(): boolean {
    const lines = (text: string) => text.trimEnd().split("\n").length;
    return lines(this.#tmux("capture-pane", "-p", "-J")) !== lines(this.#tmux("capture-pane", "-p"));
  }

  /** Waits until the screen is as expected. */
  async until(expected: RegExp): Promise<void> {
    const end = Date.now() + timeLimit;
    while (!expected.test(this.screen())) {
      if (Date.now() > end) throw new Error(`the screen has not become ${expected}:\n${this.screen()}`);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  /** Ends it and all that runs in it. */
  end(): void {
    this.#tmux("kill-server");
    rmSync(this.#folder, { recursive: true });
  }

  #tmux(...args: string[]): string {
    const { status, stdout, stderr, error } = spawnSync("tmux", ["-S", join(this.#folder, "socket"), ...args], {
      encoding: "utf8",
      env: { ...process.env, TMUX: "" },
    });
    if (error !== undefined || status !== 0) throw error ?? new Error(`tmux ${args.join(" ")}: ${stderr}`);
    return stdout;
  }
}
