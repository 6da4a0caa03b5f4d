/** Node.js: the shim as a Node-API module. */
import { lstatSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { UnsupportedError } from "../model/errors.ts";
import { abiVersion, Result } from "../tracer/abi.ts";
import type { Backend, JsHeapObjects, V8Shim } from "./backend.ts";
import { originalPositions } from "./node_source_maps.ts";
import { checkLastBuilt, ensureShim, keepShims, lastBuilt } from "./shim_file.ts";
import { cString, writtenText } from "./shim_text.ts";
import { openV8 } from "./v8.ts";

/** Tracing on Node.js. */
export function nodeBackend(): Backend<V8Shim> {
  return {
    runtime: "node",
    runtimeVersion: process.versions.node,
    engine: `V8 ${process.versions.v8}`,
    platform: `${process.platform}-${process.arch === "x64" ? "x86_64" : process.arch}`,
    openShim,
    openEngine: (shim) =>
      openV8(shim, {
        fastCalls: false,
        originalPositions,
        refused: (why, cause) =>
          new UnsupportedError(`${why}, and its inspector, which can tell it to, is not to be had here`, { cause }),
      }),
  };
}

/** The permission model, where it is on. */
const permission = (process as { permission?: { has(scope: string, reference?: string): boolean } }).permission;

/** Building needs more than tracing does: a program that may not do it takes what was built before. */
function shimPath(): string {
  if (permission === undefined || ["fs.read", "fs.write", "child"].every((scope) => permission.has(scope))) {
    return ensureShim();
  }
  checkLastBuilt((path) => {
    return permission.has("fs.read", path) ? lstatSync(path, { throwIfNoEntry: false }) : null;
  }, "--allow-fs-read");
  return lastBuilt;
}

/** Of shim/napi.c; named as in shim/tracemalloc.h. */
type FunctionName =
  | "abi"
  | "status"
  | "start"
  | "sample"
  | "stop"
  | "clear"
  | "other"
  | "memory"
  | "reset_peak"
  | "mute"
  | "snapshot"
  | "snapshot_of"
  | "address"
  | "copy"
  | "release"
  | "track"
  | "untrack"
  | "save"
  | "output"
  | "output_done"
  | "v8_hide"
  | "v8_begin"
  | "v8_check"
  | "v8_probe"
  | "v8_end"
  | "v8_frames"
  | "v8_option"
  | "v8_report"
  | "js_heap_watch"
  | "js_heap_learn"
  | "js_heap_began"
  | "js_heap_known"
  | "js_heap_verify"
  | "js_heap_verify_end"
  | "js_heap_verified"
  | "js_heap_judge"
  | "js_heap_start"
  | "js_heap_end"
  | "js_heap_state"
  | "js_heap_unsampled";

/** Numbers, bigints and typed arrays (their address) go in. */
type Native =
  & JsHeapObjects
  & { readonly [name in FunctionName]: (...words: (number | bigint | NodeJS.TypedArray)[]) => number };

const openShim = keepShims(shimPath, (path) => makeShim(loadModule(path)));

function loadModule(path: string): Native {
  const build = `node ${fileURLToPath(new URL("../../tools/build_shim.ts", import.meta.url))}`;
  const loaded = { exports: {} as Native };
  try {
    process.dlopen(loaded, path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ERR_DLOPEN_DISABLED") {
      throw new UnsupportedError("loading the shim needs a permission: add --allow-addons", { cause });
    }
    throw new UnsupportedError(`the shim ${path} cannot be loaded: build it with \`${build}\``, { cause });
  }
  const abi = (loaded.exports as Partial<Native>).abi?.();
  if (abi !== abiVersion) {
    throw new UnsupportedError(
      `the shim ${path} is of another version (ABI ${abi ?? "unknown"}, not ${abiVersion}): ` +
        `build it again with \`${build}\``,
    );
  }
  return loaded.exports;
}

function makeShim(native: Native): V8Shim {
  const memory = new BigUint64Array(new ArrayBuffer(32));
  const takeImage = (image: number) => {
    if (image === 0) return undefined;
    const bytes = new Uint8Array(native.copy(image));
    native.copy(image, bytes, bytes.length);
    native.release(image);
    return bytes;
  };
  return {
    status: native.status,
    start: native.start,
    sample: native.sample,
    stop: native.stop,
    clear: native.clear,
    other: () => writtenText(native.other) || undefined,
    memory() {
      native.memory(memory);
      return [Number(memory[0]), Number(memory[1]), Number(memory[2]), Number(memory[3])];
    },
    resetPeak: native.reset_peak,
    mute: (on) => void native.mute(on ? 1 : 0),
    snapshot: () => takeImage(native.snapshot()),
    snapshotOf: (domain, address) => takeImage(native.snapshot_of(domain, address)),
    track: native.track,
    untrack: native.untrack,
    // There are no pointer objects.
    addressOf: (x) =>
      x instanceof ArrayBuffer || x instanceof SharedArrayBuffer
        ? BigInt(native.address(new Uint8Array(x as ArrayBuffer)))
        : undefined,
    save(path, first, second) {
      const result = native.save(cString(path), first, first.length, second, second.length);
      if (result !== Result.ok) throw new Error(`cannot write ${path}: system error ${-result}`);
    },
    output: ({ path, head, milliseconds, bytes, signal }) =>
      native.output(cString(path), head, head.length, milliseconds, bytes, signal),
    outputDone: native.output_done,
    v8Hide: (urlPrefix) => native.v8_hide(cString(urlPrefix)),
    v8Begin: native.v8_begin,
    v8Check: native.v8_check,
    v8Probe: native.v8_probe,
    v8End: native.v8_end,
    v8Option: (name) => native.v8_option(cString(name)),
    v8Report: () => writtenText(native.v8_report),
    jsHeapWatch: native.js_heap_watch,
    jsHeapLearn: ({ first, step, count, rounds, interval, confirm }) =>
      native.js_heap_learn(Uint32Array.of(first, step, count, rounds, interval, confirm ? 1 : 0)),
    jsHeapBegan: native.js_heap_began,
    jsHeapKnown: native.js_heap_known,
    jsHeapVerify: native.js_heap_verify,
    jsHeapVerifyEnd: () => void native.js_heap_verify_end(),
    jsHeapVerified: (rows) => native.js_heap_verified(rows, rows.length),
    jsHeapJudge: (state, tiers) => void native.js_heap_judge(state, tiers),
    jsHeapStart: (interval, alone) => native.js_heap_start(interval, alone ? 1 : 0),
    jsHeapEnd: () => void native.js_heap_end(),
    jsHeapState: native.js_heap_state,
    jsHeapUnsampled: native.js_heap_unsampled,
    jsHeapObjects: native,
    v8Frames(most) {
      const frames = new Uint32Array(3 * most);
      return frames.subarray(0, 3 * Math.max(0, native.v8_frames(frames, most)));
    },
  };
}
