/** The js-heap domain beside someone who is attached as DevTools is: a client of `deno run --inspect`, on the loopback. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { heapFlags } from "../../lib/runtime/v8_flags.ts";
import { deno } from "./deno.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-attached-"));
after(() => rmSync(folder, { recursive: true }));

interface Attached {
  /** Has the program do something, and gives what it answers. */
  tell(what: "start" | "make" | "count" | "dump" | "stop"): Promise<unknown>;
  /** Sends a command to V8, and gives what it answers. */
  post(method: string, parameters?: object): Promise<{ result?: object; error?: { message: string } }>;
  /** The heap snapshot that V8 has sent since. */
  snapshot(): HeapSnapshot;
}

interface HeapSnapshot {
  readonly snapshot: { readonly meta: { readonly trace_function_info_fields: readonly string[] } };
  readonly nodes: readonly number[];
  readonly strings: readonly string[];
  readonly trace_function_infos: readonly number[];
  readonly trace_tree: readonly unknown[];
}

async function listening(child: ChildProcessWithoutNullStreams): Promise<string> {
  let text = "";
  for await (const data of child.stderr) {
    const [, url] = /(ws:\S+)\s/.exec(text += data) ?? [];
    if (url !== undefined) {
      child.stderr.resume();
      return url;
    }
  }
  throw new Error(text);
}

/** A program with an attached client, to its end. */
async function attached(name: string, use: (to: Attached) => Promise<void>): Promise<string> {
  const output = join(folder, name);
  const program = `${root}tests/tracer/attached_program.ts`;
  const flags = ["-A", "--no-check", "--inspect=127.0.0.1:0", `--v8-flags=${heapFlags.join(",")}`];
  const child = spawn(deno, ["run", ...flags, program, output], { stdio: "pipe" });
  const ended = once(child, "exit");
  const answers = createInterface(child.stdout)[Symbol.asyncIterator]();
  const socket = new WebSocket(await listening(child));
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  const waiting = new Map<number, (answer: object) => void>();
  let chunks = "", id = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.id !== undefined) waiting.get(message.id)?.(message);
    else if (message.method === "HeapProfiler.addHeapSnapshotChunk") chunks += message.params.chunk;
  };
  try {
    await use({
      async tell(what) {
        child.stdin.write(`${what}\n`);
        return JSON.parse((await answers.next()).value!);
      },
      post(method, params = {}) {
        socket.send(JSON.stringify({ id: ++id, method, params }));
        return new Promise((resolve) => waiting.set(id, resolve));
      },
      snapshot() {
        const text = chunks;
        chunks = "";
        return JSON.parse(text);
      },
    });
  } finally {
    socket.close();
    child.stdin.end();
  }
  assertEquals(await ended, [0, null]);
  return output;
}

function assertMade(count: unknown, expected: number): void {
  // What the line makes once: maps, feedback.
  assert(Number(count) >= expected && Number(count) < expected + 100, `${count} of ${expected}`);
}

/** How many objects the functions of a name made, as V8 has recorded it. */
function madeBy(name: string, { snapshot, strings, trace_function_infos, trace_tree }: HeapSnapshot): number {
  const fields = snapshot.meta.trace_function_info_fields;
  const nameOf = (i: number) => strings[trace_function_infos[i * fields.length + fields.indexOf("name")]!];
  let sum = 0;
  // A node is five: its number, the function, how many objects, their bytes, and the nodes that it called.
  const add = (nodes: readonly unknown[]) => {
    for (let i = 0; i < nodes.length; i += 5) {
      if (nameOf(nodes[i + 1] as number) === name) sum += nodes[i + 2] as number;
      add(nodes[i + 4] as readonly unknown[]);
    }
  };
  add(trace_tree);
  return sum;
}

test("someone takes heap snapshots and records allocations: the sampling goes on", async () => {
  await attached("snapshots", async ({ tell, post, snapshot }) => {
    await post("HeapProfiler.enable");
    assertEquals(await tell("start"), true);
    await tell("make");
    await post("HeapProfiler.takeHeapSnapshot");
    assert(snapshot().nodes.length > 1000);
    await tell("make");
    assertMade(await tell("count"), 2000);
    await post("HeapProfiler.startTrackingHeapObjects", { trackAllocations: true });
    await tell("make");
    await post("HeapProfiler.stopTrackingHeapObjects");
    assert(madeBy("make", snapshot()) >= 1000);
    assertMade(await tell("count"), 3000);
    await post("HeapProfiler.disable");
    await tell("make");
    assertMade(await tell("count"), 4000);
  });
});

test("the sampling begins and ends while someone records allocations: theirs goes on", async () => {
  await attached("tracking", async ({ tell, post, snapshot }) => {
    await post("HeapProfiler.enable");
    await post("HeapProfiler.startTrackingHeapObjects", { trackAllocations: true });
    await tell("start");
    await tell("make");
    assertMade(await tell("count"), 1000);
    await tell("stop");
    await tell("make");
    await post("HeapProfiler.stopTrackingHeapObjects");
    const made = madeBy("make", snapshot());
    assert(made >= 2000 && made < 2100, `${made}`);
  });
});

test("someone samples already: theirs is not taken, and it is said", async () => {
  await attached("theirs", async ({ tell, post }) => {
    await post("HeapProfiler.enable");
    await post("HeapProfiler.startSampling", { samplingInterval: 4096 });
    assertMatch(String(await tell("start")), /UnsupportedError: V8 has one sampler .* and someone else uses it/);
    await tell("make");
    const { result, error } = await post("HeapProfiler.stopSampling");
    assertEquals(error, undefined);
    assertMatch(JSON.stringify(result), /"functionName":"make"/);
    // Then it can.
    assertEquals(await tell("start"), true);
    await tell("make");
    assertMade(await tell("count"), 1000);
  });
});

test("someone ends the sampler: it is said, and the sampling can begin again; V8 is left as it was", async () => {
  const output = await attached("ended", async ({ tell, post }) => {
    await post("HeapProfiler.enable");
    await tell("start");
    await tell("make");
    await post("HeapProfiler.startSampling");
    await post("HeapProfiler.stopSampling");
    await tell("make");
    assertEquals(await tell("count"), 0);
    await tell("dump");
    await tell("stop");
    await tell("start");
    await tell("make");
    assertMade(await tell("count"), 1000);
    await tell("stop");
    assertMatch((await post("HeapProfiler.getSamplingProfile")).error!.message, /not started/);
    await post("HeapProfiler.startSampling", { samplingInterval: 4096 });
    await tell("make");
    assertMatch(JSON.stringify((await post("HeapProfiler.stopSampling")).result), /"functionName":"make"/);
  });
  const { stdout } = spawnSync(deno, ["run", "-A", `${root}cli.ts`, "info", output], { encoding: "utf8" });
  assertMatch(stdout, /js-heap ended +someone else stopped/);
});
