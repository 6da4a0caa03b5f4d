/**
 * Workers name the lines of what they allocate themselves, for which something of ours has to run there before the program:
 * while tracing, the two constructors of workers are given a module more to preload. What that needs goes along as
 * environment data.
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { DomainName } from "../model/domain.ts";
import { type Callable, type Place, putInPlace, wrapConstructor } from "./wrapping.ts";

/** What a worker is to do. */
export interface WorkerSettings {
  readonly shim: string;
  readonly domains: readonly DomainName[];
}

// Not imported: see shim_file.ts.
const threads = process.getBuiltinModule("node:worker_threads");
const { getEnvironmentData, setEnvironmentData } = threads;

const key = "tracemalloc";
const agent = fileURLToPath(new URL("./worker_agent.ts", import.meta.url));

/** In a worker: what it is to do; once. */
export function takeWorkerSettings(): WorkerSettings | undefined {
  const settings = getEnvironmentData(key) as WorkerSettings | undefined;
  setEnvironmentData(key, undefined as never);
  return settings;
}

let settings: WorkerSettings | undefined;

/** The options with our module before others; all else of them is as it was. */
function withAgent([script, options, ...rest]: unknown[]): unknown[] {
  if (settings === undefined || (typeof options !== "object" && options !== undefined) || options === null) {
    return [script, options, ...rest];
  }
  const { preload } = (options ?? {}) as { readonly preload?: unknown };
  const others = preload === undefined ? [] : Array.isArray(preload) ? preload : [preload];
  const all = others.includes(agent) ? others : [agent, ...others];
  return [script, Object.assign(Object.create(options ?? null), options, { preload: all }), ...rest];
}

let places: Place[] | undefined;

function makePlaces(): Place[] {
  return [globalThis, threads].map((owner): Place => {
    const proxy = wrapConstructor(owner.Worker as unknown as Callable, {
      before(args) {
        setEnvironmentData(key, settings as never);
        return withAgent(args);
      },
      after: () => setEnvironmentData(key, undefined as never),
    });
    return { owner, name: "Worker", proxy };
  });
}

/** From now on the workers that this thread starts trace themselves, too. Returns what ends that. */
export function traceWorkers(wanted: WorkerSettings): () => void {
  settings = wanted;
  const putBack = putInPlace(places ??= makePlaces());
  return () => {
    settings = undefined;
    putBack();
  };
}
