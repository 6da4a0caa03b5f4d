/**
 * An HTTP server on loopback, on either runtime, that is traced in cycles: start, snapshots, clear, stop, again and again,
 * as often as its argument says in milliseconds. `/` answers with what was posted, `/statistics` with what the tracer did
 * meanwhile.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { clearTraces, getTracemallocMemory, isTracing, start, stop, takeSnapshot } from "../../mod.ts";

interface Cycle {
  /** Bytes: the tracer's tables before they are cleared, and what the process has mapped to write and has in memory afterwards. */
  readonly tables: number;
  readonly mapped: number;
  readonly resident: number;
}

const cycles: Cycle[] = [];
const sessions = new Map<number, Uint8Array>();
let requests = 0;

async function answer(request: Request): Promise<Response> {
  if (request.method === "GET") return Response.json({ requests, cycles });
  const body = new Uint8Array(await request.arrayBuffer());
  const number = requests++;
  // What zlib holds is native memory, and much of it.
  if (number % 100 > 0) {
    sessions.set(number % 1000, body);
    return new Response(body);
  }
  const packed = await new Response(new Blob([body]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
  sessions.set(number % 1000, new Uint8Array(packed));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(await new Response(unpacked).arrayBuffer());
}

interface BunLike {
  serve(options: object): { readonly port: number };
}

const address = { hostname: "127.0.0.1", port: 0 };
if ("Bun" in globalThis) {
  const { port } = (globalThis as unknown as { Bun: BunLike }).Bun.serve({ ...address, fetch: answer });
  console.log(port);
} else {
  Deno.serve({ ...address, onListen: ({ port }) => console.log(port) }, answer);
}

const processMemory = (name: string) =>
  1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

/** One step at a time, so that requests come in between. */
const steps = [
  () => start(1 + cycles.length % 25),
  () => {
    if (takeSnapshot().statistics("lineno").length === 0) throw new Error("an empty snapshot");
  },
  () => clearTraces(),
  () => {
    takeSnapshot();
    const tables = getTracemallocMemory();
    stop();
    if (isTracing()) throw new Error("still tracing");
    cycles.push({ tables, mapped: processMemory("VmData"), resident: processMemory("VmRSS") });
  },
];
let step = 0;
setInterval(() => steps[step++ % steps.length]!(), Number(process.argv[2]) / steps.length);
