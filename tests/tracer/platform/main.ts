// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/**
 * Prints what the platform does, as exactly as a program can tell: the same is expected traced and untraced. With the
 * argument "start" it is traced by a plain `start()` before anything else.
 */
import { Buffer } from "node:buffer";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import fs from "node:fs";
import { AsyncLocalStorage } from "node:async_hooks";
import process from "node:process";
import { PassThrough, Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import util from "node:util";
import v8 from "node:v8";
import vm from "node:vm";
import { MessageChannel, receiveMessageOnPort, Worker as NodeWorker } from "node:worker_threads";
import zlib from "node:zlib";
import { start, stop } from "../../../mod.ts";
import { probeBuffers } from "./buffers.ts";

const started = process.argv[2] === "start";
if (started) start(5);

/** Set for the untraced program, too, where frames are compared. */
const tailCalls = "BUN_JSC_useTailCalls";
const folder = fileURLToPath(new URL(".", import.meta.url));

/** Prints a result, or how it failed; files are told by their names alone. */
function print(name: string, result: unknown): void {
  const text = typeof result === "string" ? result : util.inspect(result, { depth: 6, breakLength: 120 });
  console.log(`${name}: ${text.replaceAll(folder, "")}`);
}

async function probe(name: string, work: () => unknown): Promise<void> {
  try {
    print(name, await work());
  } catch (error) {
    print(
      name,
      error instanceof Error ? ["threw", error.name, error.message, error.stack, placeOf(error)] : ["threw", error],
    );
  }
}

/** What this engine says of an error's place. */
function placeOf(error: Error): unknown[] {
  const { line, column, sourceURL } = error as { line?: number; column?: number; sourceURL?: string };
  return [line, column, sourceURL];
}

await probeBuffers(probe);

// Errors and their stacks.
await probe("a stack", () => {
  function inner() {
    return new Error("x").stack;
  }
  function outer() {
    return inner() + "";
  }
  return outer();
});
await probe("a stack behind native code", () => [1].map(() => new Error("x").stack).join());
await probe("captureStackTrace", () => {
  const into: { stack?: string } = {};
  function cut() {
    Error.captureStackTrace(into, cut);
  }
  cut();
  return [into.stack, Object.getOwnPropertyNames(into)];
});
await probe("stackTraceLimit", () => {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 1;
  const deep = (n: number): string => n > 0 ? `${deep(n - 1)}` : new Error("x").stack!;
  const stack = deep(5);
  Error.stackTraceLimit = limit;
  return [limit, stack, Object.getOwnPropertyDescriptor(Error, "stackTraceLimit")];
});
await probe("prepareStackTrace", async () => {
  let calls = 0;
  Error.prepareStackTrace = (error, sites) => {
    calls++;
    return `${error.message} ${sites.map((site) => `${site.getFunctionName()}:${site.getLineNumber()}`).join(" ")}`;
  };
  const stack = new Error("mine").stack;
  await new Promise((resolve) => setTimeout(resolve, 80));
  const before = calls;
  delete (Error as { prepareStackTrace?: unknown }).prepareStackTrace;
  return [stack, before, Object.getOwnPropertyNames(Error)];
});
await probe("cause and aggregate", () => {
  const error = new AggregateError([new Error("a"), new TypeError("b", { cause: 3 })], "all");
  return [error.message, error.errors.map(String), error.errors[1].cause];
});
await probe("a full stack", () => {
  const endless = (): number => 1 + endless();
  try {
    endless();
  } catch (error) {
    return [(error as Error).name, (error as Error).message];
  }
});

// Timers, microtasks, events.
await probe("order of tasks", async () => {
  const order: string[] = [];
  setTimeout(() => order.push("timeout"), 0);
  setImmediate(() => order.push("immediate"));
  process.nextTick(() => order.push("tick"));
  queueMicrotask(() => order.push("microtask"));
  Promise.resolve().then(() => order.push("then"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  return order;
});
await probe("timers", async () => {
  const fired: number[] = [];
  const interval = setInterval(() => fired.push(fired.length), 2);
  while (fired.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  clearInterval(interval);
  const timeout = setTimeout(() => {}, 1000);
  const described = [typeof timeout.ref, timeout.hasRef(), timeout.unref() === timeout, timeout.hasRef()];
  clearTimeout(timeout);
  return [fired.slice(0, 3), described];
});
await probe("AsyncLocalStorage", async () => {
  const storage = new AsyncLocalStorage<string>();
  return await storage.run("inside", async () => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    return storage.getStore();
  });
});
await probe("events", async () => {
  const emitter = new EventEmitter();
  setTimeout(() => emitter.emit("happens", 1, "two"), 1);
  return [await once(emitter, "happens"), emitter.listenerCount("happens")];
});
await probe("listeners of the process", () => [
  // Not "exit": under `run` there is one more.
  ...["uncaughtException", "unhandledRejection", "beforeExit", "warning", "SIGTERM", "SIGUSR2", "message"].map((name) =>
    process.listenerCount(name)
  ),
]);
await probe("weak references", async () => {
  const registered: number[] = [];
  const registry = new FinalizationRegistry<number>((number) => registered.push(number));
  (() => {
    for (let i = 0; i < 20; i++) registry.register({ i }, i);
  })();
  for (let i = 0; i < 50 && registered.length === 0; i++) {
    Bun.gc(true);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return registered.length > 0;
});

// The process.
await probe("process", () => [
  process.argv.length - (started ? 1 : 0),
  process.execArgv,
  process.title,
  Object.keys(process.env).filter((name) => /^(?:BUN|TRACEMALLOC_|LD_)/.test(name) && name !== tailCalls),
  process.exitCode,
  typeof process.memoryUsage().rss,
  import.meta.main,
  Bun.main === fileURLToPath(import.meta.url),
]);
await probe("environment of children", () => {
  const shown = (text: string) =>
    text.split("\n").filter((line) => /^(?:BUN|TRACEMALLOC_|LD_)/.test(line) && !line.startsWith(tailCalls));
  return [
    shown(execFileSync("env", { encoding: "utf8" })),
    shown(spawnSync("env", { encoding: "utf8" }).stdout),
    shown(Bun.spawnSync(["env"]).stdout.toString()),
  ];
});
await probe("children", async () => {
  const child = Bun.spawn(["sh", "-c", "cat; echo err >&2; exit 7"], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  child.stdin.write("in");
  child.stdin.end();
  const [out, err] = [await new Response(child.stdout).text(), await new Response(child.stderr).text()];
  const bun = spawnSync(process.execPath, ["-e", "console.log(process.execArgv.length, new Uint8Array(3).length)"], {
    encoding: "utf8",
  });
  return [out, err, await child.exited, bun.status, bun.stdout, bun.stderr];
});

// Text of functions, and what they have.
await probe(
  "functions",
  () =>
    [Worker, NodeWorker, setTimeout, Function.prototype.toString, structuredClone, fetch, Error].map((f) => {
      const text = Function.prototype.toString.call(f);
      return [f.name, f.length, text.length > 200 ? `${text.slice(0, 40)}…` : text, String(f).length, util.inspect(f)];
    }),
);
await probe(
  "what is global",
  () =>
    Object.entries(Object.getOwnPropertyDescriptors(globalThis)).map(([name, { writable, enumerable, configurable }]) =>
      `${name}${writable ? "w" : ""}${enumerable ? "e" : ""}${configurable ? "c" : ""}`
      // What bun:ffi itself leaves in older versions.
    ).filter((name) => !name.startsWith("__GlobalBun")).sort().join(" "),
);

// Threads.
for (const [kind, Kind] of [["web", Worker], ["node", NodeWorker]] as const) {
  await probe(`a worker, ${kind}`, async () => {
    const url = new URL("worker.ts", import.meta.url);
    const worker = new Kind(kind === "web" ? url.href : url, {
      name: "named",
      argv: ["an", "argument"],
      env: { GIVEN: "1" },
      workerData: { given: [1, new Uint8Array([2])] },
    }) as NodeWorker & Worker;
    const heard: unknown[] = [];
    const hear = (message: unknown) => heard.push(message);
    if (kind === "web") worker.onmessage = ({ data }) => hear(data);
    else worker.on("message", hear);
    const moved = new ArrayBuffer(16);
    worker.postMessage({ moved, shared: new SharedArrayBuffer(8), map: new Map([[1, { deep: true }]]) }, [moved]);
    const code = await new Promise((resolve) =>
      kind === "web"
        ? worker.addEventListener("close", (event) => resolve((event as CloseEvent).code))
        : worker.on("exit", resolve)
    );
    return [moved.byteLength, heard, code];
  });
  await probe(`a worker that fails, ${kind}`, async () => {
    const worker = new Kind(
      new URL("failing_worker.ts", import.meta.url).href.slice(kind === "web" ? 0 : "file://".length),
    ) as
      & NodeWorker
      & Worker;
    return await new Promise((resolve) =>
      kind === "web"
        ? worker.onerror = (event) => {
          event.preventDefault();
          resolve(event.message.split("\n")[0]);
        }
        : worker.on("error", (error: Error) => resolve(error.message))
    );
  });
}
await probe(
  "arguments of workers that cannot be",
  () =>
    [[], [3], ["./no-such-file.ts"], ["./worker.ts", 3], ["./worker.ts", null]].map((given) => {
      try {
        const worker = new (NodeWorker as unknown as new (...given: unknown[]) => NodeWorker)(...given);
        worker.on("error", () => {});
        void worker.terminate();
        return "made";
      } catch (error) {
        return (error as Error).name;
      }
    }),
);
await probe("subclasses of workers", async () => {
  class Own extends NodeWorker {
    own = 1;
  }
  const worker = new Own("require('node:worker_threads').parentPort.postMessage(1)", { eval: true });
  const [message] = await once(worker, "message");
  await worker.terminate();
  return [message, worker.own, worker instanceof Own, worker instanceof NodeWorker, Own.name];
});
await probe("message channels", () => {
  const { port1, port2 } = new MessageChannel();
  const moved = new ArrayBuffer(5);
  port1.postMessage({ moved, set: new Set([1]) }, [moved]);
  const received = receiveMessageOnPort(port2);
  port1.close();
  return [moved.byteLength, received];
});

// Files, streams, the network, databases.
await probe("files", async () => {
  const path = `${fs.mkdtempSync("/tmp/platform-")}/file`;
  fs.writeFileSync(path, "some text");
  const result = [
    fs.readFileSync(path, "utf8"),
    fs.readFileSync(path),
    await fs.promises.readFile(path),
    await new Promise((resolve) => fs.readFile(path, (error, data) => resolve([error, data]))),
    await Bun.file(path).text(),
    await Bun.file(path).bytes(),
    new Uint8Array(await Bun.file(path).arrayBuffer()),
    await fs.promises.readFile("/no/such/file").catch((error) => [error.code, error.message]),
  ];
  fs.rmSync(path);
  return result;
});
await probe("rejections that nobody handles", async () => {
  const seen: unknown[] = [];
  const see = (reason: unknown) => seen.push((reason as Error).message);
  process.on("unhandledRejection", see);
  void fs.promises.readFile("/no/such/file");
  void Bun.file("/no/such/file").bytes();
  void fs.promises.readFile("/no/such/other").catch(() => seen.push("handled"));
  await new Promise((resolve) => setTimeout(resolve, 60));
  process.off("unhandledRejection", see);
  return seen.sort();
});
await probe("streams", async () => {
  const through = new PassThrough({ highWaterMark: 3 });
  const written = [through.write("ab"), through.write(Buffer.from("cdef"))];
  through.end();
  const chunks = [];
  for await (const chunk of through) chunks.push(chunk);
  const web = new Response(new Blob(["web"]).stream().pipeThrough(new CompressionStream("gzip")));
  const packed = new Uint8Array(await web.arrayBuffer());
  return [written, chunks, zlib.gunzipSync(packed).toString(), await Readable.from(["a", "b"]).toArray()];
});
await probe("compression", () => {
  const data = Buffer.from("text ".repeat(100));
  return [
    zlib.inflateSync(zlib.deflateSync(data)).equals(data),
    zlib.brotliDecompressSync(zlib.brotliCompressSync(data)).length,
    Bun.gunzipSync(Bun.gzipSync(new Uint8Array(data))).length,
    createHash("sha256").update(data).digest("hex"),
  ];
});
await probe("http", async () => {
  const server = Bun.serve({
    port: 0,
    fetch: async (request) =>
      new Response((await request.arrayBuffer()).slice(1), { headers: { "x-method": request.method } }),
  });
  const response = await fetch(server.url, { method: "POST", body: new Uint8Array([1, 2, 3]) });
  const result = [response.status, response.headers.get("x-method"), await response.bytes()];
  await server.stop(true);
  return result;
});
await probe("sqlite", async () => {
  const { Database } = await import("bun:sqlite");
  const database = new Database(":memory:");
  database.run("create table t (n integer, b blob)");
  database.prepare("insert into t values (?, ?)").run(1, new Uint8Array([1, 2, 3]));
  const rows = database.query("select * from t").all();
  database.close();
  return rows;
});
await probe("vm and v8", () => [
  vm.runInNewContext("[new Uint8Array(3).length, a + 1, new Error('x').stack.split('\\n').length > 1]", { a: 1 }),
  v8.deserialize(v8.serialize({ array: new Float32Array([1.5]), date: new Date(0) })),
]);
await probe("WebAssembly", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 3 });
  const before = memory.buffer;
  memory.grow(1);
  return [before.byteLength, memory.buffer.byteLength, memory.buffer instanceof ArrayBuffer, memory.buffer === before];
});

if (started) stop();
await probe("afterwards", () => [
  Worker.name,
  new Uint8Array(3).constructor === Uint8Array,
  Object.getPrototypeOf(Buffer) === Uint8Array,
  Function.prototype.toString.call(Uint8Array),
]);
process.on("exit", (code) => print("exit", [code, process.exitCode]));
process.exitCode = 3;
