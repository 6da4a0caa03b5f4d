/**
 * Whole programs: programs.ts NAME SCALE runs one, first a little to warm up, then SCALE times what takes about a second,
 * and prints "ms of the clock, ms of all processors". They hold no more than a few megabytes.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gunzipSync, gzipSync } from "node:zlib";

let sink: unknown;

function repeat(times: number, step: (i: number) => unknown): void {
  for (let i = 0; i < times; i++) sink = step(i);
}

/** Where an allocation has many callers, as in any larger program. */
function atDepth(depth: number, task: () => void): void {
  if (depth > 0) atDepth(depth - 1, task);
  else task();
}

/** A server and its client in one process, eight requests at a time. */
async function serve(requests: number): Promise<void> {
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { id } = JSON.parse(Buffer.concat(chunks).toString());
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ id, items: Array.from({ length: 50 }, (_, i) => ({ i, name: `item ${i}` })) }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  let left = requests;
  const client = async () => {
    while (left-- > 0) {
      await new Promise<void>((resolve, reject) => {
        const request = http.request({ host: "127.0.0.1", port, method: "POST", agent }, (response) => {
          response.resume();
          response.on("end", resolve);
        });
        request.on("error", reject);
        request.end(JSON.stringify({ id: left, text: "x".repeat(500) }));
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  agent.destroy();
  await new Promise((resolve) => server.close(resolve));
}

const text = JSON.stringify(
  Array.from(
    { length: 500 },
    (_, i) => ({ id: i, name: `name ${i}`, tags: ["a", "b", `${i}`], at: { x: i / 3, y: -i } }),
  ),
);
const page = Buffer.from(text.repeat(4));
const encoder = new TextEncoder(), line = "κόσμε ".repeat(100);

const programs: Readonly<Record<string, (scale: number) => Promise<void> | void>> = {
  "Uint8Array churn": (scale) => atDepth(1, () => repeat(1_000_000 * scale, () => new Uint8Array(3000))),
  "Uint8Array churn, 30 frames deep": (scale) =>
    atDepth(30, () => repeat(1_000_000 * scale, () => new Uint8Array(3000))),
  "TextEncoder churn": (scale) => atDepth(1, () => repeat(600_000 * scale, () => encoder.encode(line))),
  "HTTP server": (scale) => serve(8_000 * scale),
  JSON: (scale) => repeat(1_500 * scale, () => JSON.stringify(JSON.parse(text))),
  "hashing files": (scale) => {
    const folder = mkdtempSync(join(tmpdir(), "overhead-"));
    try {
      for (let i = 0; i < 10; i++) writeFileSync(join(folder, `${i}`), Buffer.alloc(100_000, i));
      repeat(8_000 * scale, (i) => createHash("sha256").update(readFileSync(join(folder, `${i % 10}`))).digest("hex"));
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  "sqlite inserts": async (scale) => {
    const { DatabaseSync } = await import("node:sqlite");
    const database = new DatabaseSync(":memory:");
    database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB)");
    const insert = database.prepare("INSERT INTO t (name, data) VALUES (?, ?)");
    const data = new Uint8Array(200);
    for (let i = 0; i < scale * 300_000; i++) {
      insert.run(`name ${i}`, data);
      if (i % 50_000 === 49_999) database.exec("DELETE FROM t");
    }
    database.close();
  },
  zlib: (scale) => repeat(500 * scale, () => gunzipSync(gzipSync(page))),
};

const program = programs[process.argv[2] ?? ""], scale = Number(process.argv[3] ?? 1);
if (program === undefined) throw new Error(`there is no such program; there are ${Object.keys(programs).join(", ")}`);
await program(0.02);
const start = performance.now(), before = process.cpuUsage();
await program(scale);
const { user, system } = process.cpuUsage(before);
console.log(`${(performance.now() - start).toFixed(1)} ${((user + system) / 1000).toFixed(1)}`);
process.exit(sink === process ? 1 : 0);
