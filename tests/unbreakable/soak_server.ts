/**
 * An HTTP server on loopback, on either runtime, that is traced in cycles: start, snapshots, clear, stop, again and again,
 * as often as its argument says in milliseconds. `/` answers with what was posted, `/statistics` with what the tracer did
 * meanwhile.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { clearTraces, getTracemallocMemory, isTracing, start, stop, takeSnapshot } from "../../mod.ts";

interface Cycle {
  /** Bytes of the tracer's tables before they are cleared. */
  readonly tables: number;
  /** And after it was stopped: all address space that it has for itself, */
  readonly mapped: number;
  /** blocks of malloc in use, the engine's among them (0 on Bun, which has its own), and objects in the engine's heap, */
  readonly blocks: number;
  readonly objects: number;
  /** and what the process has in memory. */
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

/** What the shim has mapped, and what malloc has given out: mallinfo2().uordblks and .hblkhd. */
const { mapped, blocks } = openLibraries();

function openLibraries(): { mapped(): number; blocks(): number } {
  const shim = ensureShim();
  if ("Bun" in globalThis) {
    const { dlopen } = process.getBuiltinModule("bun:ffi") as unknown as BunFfi;
    const { symbols } = dlopen(shim, { tracemalloc_mapped: { args: [], returns: "u64" } });
    return { mapped: () => Number(symbols.tracemalloc_mapped()), blocks: () => 0 };
  }
  const { symbols } = Deno.dlopen(shim, { tracemalloc_mapped: { parameters: [], result: "u64" } });
  const words = Array.from({ length: 10 }, () => "u64" as const);
  const libc = Deno.dlopen("libc.so.6", { mallinfo2: { parameters: [], result: { struct: words } } });
  return {
    mapped: () => Number(symbols.tracemalloc_mapped()),
    blocks() {
      const info = new BigUint64Array(libc.symbols.mallinfo2().buffer as ArrayBuffer);
      return Number(info[7]! + info[4]!);
    },
  };
}

interface BunFfi {
  dlopen(path: string, symbols: object): { readonly symbols: { tracemalloc_mapped(): bigint } };
}

const address = { hostname: "127.0.0.1", port: 0 };
if ("Bun" in globalThis) {
  const { port } = (globalThis as unknown as { Bun: BunLike }).Bun.serve({ ...address, fetch: answer });
  console.log(port);
} else {
  Deno.serve({ ...address, onListen: ({ port }) => console.log(port) }, answer);
}

const resident = () => 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

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
    const objects = process.memoryUsage().heapUsed;
    cycles.push({ tables, mapped: mapped(), blocks: blocks(), objects, resident: resident() });
  },
];
let step = 0;
setInterval(() => steps[step++ % steps.length]!(), Number(process.argv[2]) / steps.length);
