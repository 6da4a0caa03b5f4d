import { assert, assertEquals } from "@std/assert";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { deno } from "../tracer/deno.ts";

// The shop of examples/README.md: its leaks are found, to the line.

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-shop-"));
after(() => rmSync(folder, { recursive: true }));

const server = `${root}examples/shop/server.ts`;
const cli = ["run", "-A", `${root}cli.ts`];

async function visit(url: string, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    for (const path of ["/", "/visit", `/watch/${i}`, `/search?q=${i} words`]) {
      await (await fetch(url + path)).text();
    }
  }
}

test("three leaks of a server are the lines that grew most", async () => {
  const child = spawn(
    deno,
    [
      ...cli,
      "run",
      "--domains",
      "js-heap",
      "--js-interval",
      "1024",
      "-o",
      join(folder, "end.snapshot"),
      server,
      folder,
    ],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  const ended = new Promise((resolve) => child.on("exit", resolve));
  try {
    const url = await new Promise<string>((resolve) => child.stdout.on("data", (text) => resolve(String(text).trim())));
    await visit(url, 0, 300);
    assertEquals(await (await fetch(`${url}/snapshot/before`, { method: "POST" })).text(), "taken");
    await visit(url, 300, 1500);
    assertEquals(await (await fetch(`${url}/snapshot/after`, { method: "POST" })).text(), "taken");
  } finally {
    process.kill(child.pid!, "SIGTERM");
    await ended;
  }
  const { stdout } = spawnSync(
    deno,
    [...cli, "diff", "--include", server, join(folder, "before.snapshot"), join(folder, "after.snapshot")],
    { encoding: "utf8" },
  );
  const grown = [...stdout.matchAll(/^#\d+: .* \(\+.*\), .*\n +(.*)$/gm)].map(([, code]) => code!.trim());
  const leaks = ["found = goods.filter(", "setInterval(", 'stock.on("change"'];
  // The visits are what the timers keep.
  const first = grown.slice(0, 3).filter((code) =>
    ![...leaks, "const visit: Visit"].some((leak) => code.startsWith(leak))
  );
  assertEquals(first, [], stdout);
  for (const leak of leaks) assert(grown.some((code) => code.startsWith(leak)), stdout);
});
