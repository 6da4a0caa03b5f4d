/**
 * A server that is traced on and off while it works: no request fails, and the tracer's memory does not grow.
 * `SOAK_MINUTES=30` is the long form, with a cycle a second; else it is 24 seconds, with as many as there can be.
 */
import { assert, assertEquals } from "@std/assert";
import { spawn } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { deno, once, root } from "./run.ts";

const minutes = Number(process.env["SOAK_MINUTES"] ?? "0.4");
const cycle = minutes >= 1 ? 1000 : 100;

interface Statistics {
  readonly requests: number;
  readonly cycles: readonly { readonly tables: number; readonly mapped: number; readonly resident: number }[];
}

test(`a server under load, for ${minutes} minutes, traced on and off every ${cycle} ms`, once, async () => {
  const script = fileURLToPath(new URL("soak_server.ts", import.meta.url));
  const child = spawn(deno, ["run", "-A", `--config=${root}deno.json`, script, String(cycle)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const port = await new Promise<number>((resolve) => child.stdout.on("data", (data) => resolve(Number(data))));
  const url = `http://127.0.0.1:${port}/`;
  const end = Date.now() + minutes * 60_000;
  let sent = 0;
  const client = async (number: number) => {
    while (Date.now() < end) {
      const body = new Uint8Array(100 + (sent * 7919) % 20_000).fill(number);
      const answer = await (await fetch(url, { method: "POST", body })).bytes();
      sent++;
      assertEquals([answer.length, answer[0], answer.at(-1)], [body.length, number, number]);
    }
  };
  try {
    await Promise.all([1, 2, 3, 4, 5, 6].map(client));
    const { requests, cycles }: Statistics = await (await fetch(`${url}statistics`)).json();
    assertEquals(requests, sent);
    // The first minute, or the first third: V8's heap and the C library's find their size.
    const settled = cycles.slice(Math.min(60, Math.ceil(cycles.length / 3)));
    const half = settled.length >> 1;
    assert(half >= 5, `only ${cycles.length} cycles`);
    for (const what of ["tables", "mapped", "resident"] as const) {
      const most = (part: typeof settled) => part.reduce((most, sizes) => Math.max(most, sizes[what]), 0);
      const before = most(settled.slice(0, half)), after = most(settled.slice(half));
      console.log(
        `${what}: ${before} bytes at the most in the first half, ${after} in the second; ${requests} requests, ${cycles.length} cycles`,
      );
      // Less than 64 KiB a cycle, and what a busy server's heap may do.
      assert(after - before < half * 65_536 + before * 0.1, `${what} grew from ${before} to ${after} bytes`);
    }
  } finally {
    process.kill(child.pid!, "SIGTERM");
    await ended;
  }
});
