/** Headless Chromium, driven by its DevTools protocol: what a person does with a page, and what they see. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** A browser with one page; `null` from {@link start} where there is none on this machine. */
export class Chromium {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #socket: WebSocket;
  #page = "";
  #session: string | undefined;
  #calls = 0;
  readonly #pending = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>();
  /** What pages have thrown or logged as an error since {@link open}. */
  readonly problems: string[] = [];

  private constructor(child: ChildProcess, folder: string, socket: WebSocket) {
    this.#child = child;
    this.#folder = folder;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
  }

  /** Starts it. */
  static async start(): Promise<Chromium | null> {
    const folder = mkdtempSync(join(tmpdir(), "tracemalloc-chromium-"));
    const args = [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--hide-scrollbars",
      "--remote-debugging-port=0",
      "--remote-allow-origins=devtools://devtools",
    ];
    const child = spawn("chromium", [
      ...args,
      `--user-data-dir=${folder}`,
      "--allow-file-access-from-files",
      "about:blank",
    ], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, HOME: folder },
    });
    const url = await new Promise<string | null>((resolve, reject) => {
      let text = "";
      child.on("error", (error) => (error as { code?: string }).code === "ENOENT" ? resolve(null) : reject(error));
      child.on("exit", () => reject(new Error(`chromium has ended: ${text}`)));
      child.stderr!.on("data", (data) => {
        text += data;
        const found = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
        if (found !== undefined) resolve(found);
      });
    });
    if (url === null) {
      rmSync(folder, { recursive: true });
      return null;
    }
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    const browser = new Chromium(child, folder, socket);
    await browser.#attach("about:blank");
    return browser;
  }

  async #attach(url: string): Promise<void> {
    this.#session = undefined;
    const { targetId } = await this.send<{ targetId: string }>("Target.createTarget", { url });
    const attached = { targetId, flatten: true };
    this.#session = (await this.send<{ sessionId: string }>("Target.attachToTarget", attached)).sessionId;
    this.#page = targetId;
    for (const domain of ["Page", "Runtime", "Log"]) await this.send(`${domain}.enable`);
  }

  /** Opens the DevTools that come with it, at a panel, for the page that there is: from now on they are the page. */
  async openDevTools(panel: string): Promise<void> {
    const target = `${new URL(this.#socket.url).host}/devtools/page/${this.#page}`;
    await this.#attach(`devtools://devtools/bundled/js_app.html?ws=${target}&panel=${panel}`);
  }

  /** Ends it. */
  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.on("exit", resolve));
    this.#session = undefined;
    await this.send("Browser.close");
    await ended;
    this.#socket.close();
    // Its own processes may still be writing for a moment.
    for (let tries = 0;; tries++) {
      try {
        rmSync(this.#folder, { recursive: true, force: true });
        return;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** Calls a method of the protocol. */
  send<T = unknown>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.#calls;
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    this.#socket.send(JSON.stringify({ id, method, params, ...session }));
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  /** Opens a page and waits until it is loaded. */
  async open(url: string): Promise<void> {
    this.problems.length = 0;
    await this.send("Page.navigate", { url: "about:blank" });
    await this.until(`location.href === "about:blank"`);
    await this.send("Page.navigate", { url });
    await this.until(`location.href !== "about:blank" && document.readyState === "complete"`);
  }

  /** The value of an expression in the page; a promise is waited for. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send<{
      result: { value: T };
      exceptionDetails?: { exception?: { description?: string }; text: string };
    }>("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails !== undefined) {
      throw new Error(`${exceptionDetails.exception?.description ?? exceptionDetails.text} in ${expression}`);
    }
    return result.value;
  }

  /** Waits until an expression is true. */
  async until(expression: string, seconds = 120): Promise<void> {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      // Between two pages there is nothing to ask.
      if (await this.evaluate<unknown>(expression).catch(() => false)) return;
      if (Date.now() > end) throw new Error(`${expression} has not become true; the page has said: ${this.problems}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The size of the window in pixels. */
  async resize(width: number, height: number): Promise<void> {
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  /** Whether the user prefers light or dark. */
  async prefer(scheme: "light" | "dark"): Promise<void> {
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** Clicks on the middle of the first element that a selector finds. */
  click(selector: string): Promise<void> {
    return this.clickOn(`document.querySelector(${JSON.stringify(selector)})`);
  }

  /** Clicks on the middle of the element that an expression is. */
  async clickOn(expression: string): Promise<void> {
    const [x, y] = await this.evaluate<[number, number]>(`(() => {
      const element = ${expression};
      element.scrollIntoView({ block: "nearest" });
      const { x, y, width, height } = element.getBoundingClientRect();
      return [x + width / 2, y + height / 2];
    })()`);
    await this.send("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.send("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
    }
  }

  /** Chooses a file for the input that an expression is. */
  async choose(file: string, expression: string): Promise<void> {
    const { result: { objectId } } = await this.send<{ result: { objectId: string } }>("Runtime.evaluate", {
      expression,
    });
    await this.send("DOM.setFileInputFiles", { files: [file], objectId });
  }

  /** Types text where the focus is. */
  async type(text: string): Promise<void> {
    await this.send("Input.insertText", { text });
  }

  /** Presses a key by its name, as in `KeyboardEvent.key`. */
  async press(key: string): Promise<void> {
    const codes: Record<string, number> = {
      Tab: 9,
      Enter: 13,
      Escape: 27,
      " ": 32,
      ArrowLeft: 37,
      ArrowUp: 38,
      ArrowRight: 39,
      ArrowDown: 40,
      Home: 36,
      End: 35,
    };
    const event = {
      key,
      code: key,
      windowsVirtualKeyCode: codes[key] ?? key.toUpperCase().charCodeAt(0),
      ...(key === "Enter" ? { text: "\r" } : key.length === 1 ? { text: key } : {}),
    };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /** Writes what is seen to a PNG. */
  async screenshot(path: string): Promise<void> {
    const { data } = await this.send<{ data: string }>("Page.captureScreenshot", { format: "png" });
    writeFileSync(path, Uint8Array.from(atob(data), (character) => character.charCodeAt(0)));
  }

  #receive(message: {
    id?: number;
    method?: string;
    error?: { message: string };
    result?: never;
    params?: {
      exceptionDetails?: { text: string; exception?: { description?: string } };
      entry?: { level: string; text: string };
    };
  }): void {
    if (message.id !== undefined) {
      const call = this.#pending.get(message.id);
      this.#pending.delete(message.id);
      if (message.error !== undefined) call?.reject(new Error(message.error.message));
      else call?.resolve(message.result!);
      return;
    }
    const { exceptionDetails, entry } = message.params ?? {};
    if (message.method === "Runtime.exceptionThrown") {
      this.problems.push(exceptionDetails!.exception?.description ?? exceptionDetails!.text);
    }
    if (message.method === "Log.entryAdded" && entry!.level === "error") this.problems.push(entry!.text);
  }
}
