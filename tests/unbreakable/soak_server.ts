/**
 * An HTTP server on loopback that is traced in cycles: start, snapshots, clear, stop, again and again, as often as its
 * argument says in milliseconds. `/` answers with what was posted, `/statistics` with what the tracer did meanwhile.
 */
import { readFileSync } from "node:fs";
import { clearTraces, getTracemallocMemory, isTracing, start, stop, takeSnapshot } from "../../mod.ts";

interface Cycle {
  /** Bytes: the tracer's tables before they are cleared, and the process's address space and memory afterwards. */
  readonly tables: number;
  readonly mapped: number;
  readonly resident: number;
}

const cycles: Cycle[] = [];
const sessions = new Map<number, Uint8Array>();
let requests = 0;

const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: ({ port }) => console.log(port) },
  async (request) => {
    if (new URL(request.url).pathname === "/statistics") return Response.json({ requests, cycles });
    const body = new Uint8Array(await request.arrayBuffer());
    const compressed = await new Response(new Blob([body]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
    sessions.set(requests++ % 1000, compressed);
    return new Response(new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip")));
  },
);

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
    cycles.push({ tables, mapped: processMemory("VmSize"), resident: processMemory("VmRSS") });
  },
];
let step = 0;
setInterval(() => steps[step++ % steps.length]!(), Number(Deno.args[0]) / steps.length);
await server.finished;
