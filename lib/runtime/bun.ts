/** Bun: the shim by FFI, and once more as a Node-API module, for what has to happen between the engine's own calls. */
import process from "node:process";
import { UnsupportedError } from "../model/errors.ts";
import { abiVersion, Result } from "../tracer/abi.ts";
import { traceArrayBuffers, type TrackingShim } from "./array_buffers.ts";
import type { Backend, Engine, Shim } from "./backend.ts";
import { traceWorkers } from "./bun_workers.ts";
import { type JscModule, type JscShim, type JscTools, openJsc } from "./jsc.ts";
import { type MimallocCalibration, type MimallocShim, openMimalloc } from "./mimalloc.ts";
import { ensureShim, keepShims } from "./shim_file.ts";
import { cString, writtenText } from "./shim_text.ts";

interface BunShim extends Shim, JscShim, TrackingShim {
  readonly path: string;
  readonly module: JscModule;
  readonly mimalloc: MimallocShim;
  addressOf(x: ArrayBufferLike | object): bigint | undefined;
}

/** What of Bun's own modules is used here; they are there on Bun alone. */
interface Ffi {
  dlopen(path: string, symbols: typeof shimSymbols): { symbols: Native };
  ptr(buffer: ArrayBufferLike | ArrayBufferView): number;
}

const pointer = "ptr", u32 = "u32", i32 = "i32", u64 = "u64", none = "void";

const shimSymbols = {
  tracemalloc_abi: { args: [], returns: u32 },
  tracemalloc_status: { args: [], returns: u32 },
  tracemalloc_start: { args: [u32, u32], returns: i32 },
  tracemalloc_sample: { args: [u32], returns: i32 },
  tracemalloc_stop: { args: [], returns: i32 },
  tracemalloc_clear: { args: [], returns: i32 },
  tracemalloc_other: { args: [pointer, i32], returns: i32 },
  tracemalloc_memory: { args: [pointer], returns: none },
  tracemalloc_reset_peak: { args: [], returns: none },
  tracemalloc_mute: { args: [i32], returns: none },
  tracemalloc_snapshot: { args: [], returns: u64 },
  tracemalloc_snapshot_of: { args: [u32, u64], returns: u64 },
  tracemalloc_track: { args: [u32, u64, u64], returns: i32 },
  tracemalloc_untrack: { args: [u32, u64], returns: i32 },
  tracemalloc_without_native: { args: [], returns: i32 },
  tracemalloc_here: { args: [], returns: u64 },
  tracemalloc_track_from: { args: [u64, u32, u64, u64], returns: i32 },
  tracemalloc_copy: { args: [u64, pointer, u64], returns: u64 },
  tracemalloc_release: { args: [u64], returns: none },
  tracemalloc_save: { args: [pointer, pointer, u64, pointer, u64], returns: i32 },
  tracemalloc_output: { args: [pointer, pointer, u64, u64, u64, i32], returns: i32 },
  tracemalloc_output_done: { args: [], returns: none },
  tracemalloc_mimalloc_begin: { args: [], returns: i32 },
  tracemalloc_mimalloc_expect: { args: [u64], returns: none },
  tracemalloc_mimalloc_seen: { args: [pointer], returns: none },
  tracemalloc_mimalloc_garbage: { args: [pointer], returns: none },
  tracemalloc_mimalloc_end: { args: [i32], returns: i32 },
  tracemalloc_mimalloc_report: { args: [pointer, i32], returns: i32 },
  tracemalloc_jsc_begin: { args: [], returns: i32 },
  tracemalloc_jsc_end: { args: [], returns: i32 },
  tracemalloc_jsc_report: { args: [pointer, i32], returns: i32 },
  tracemalloc_jsc_unnamed: { args: [], returns: u32 },
  tracemalloc_jsc_hide: { args: [pointer], returns: none },
  tracemalloc_jsc_own: { args: [u32, u64, u64], returns: none },
} as const;

type Argument = number | bigint | ArrayBufferView | null;
type Native = { readonly [name in keyof typeof shimSymbols]: (...args: Argument[]) => number | bigint };

/** Tracing on Bun. */
export function bunBackend(): Backend<BunShim> {
  const { bun = "", webkit = "" } = process.versions;
  return {
    runtime: "bun",
    runtimeVersion: bun,
    engine: `JavaScriptCore ${webkit}`,
    platform: `${process.platform}-${process.arch === "x64" ? "x86_64" : process.arch}`,
    openShim,
    openEngine,
  };
}

let nameRecorded: (() => void) | undefined;
let mimalloc: MimallocCalibration | undefined;

/** The engine, and the allocator that it is linked with: where that cannot be traced, native libraries still can. */
function openEngine(shim: BunShim): Engine {
  const engine = openJsc(shim, shim.module, process.getBuiltinModule("bun:jsc") as unknown as JscTools);
  mimalloc ??= openMimalloc(shim.mimalloc, (buffer) => shim.addressOf(buffer)!);
  const { calibration, refusal } = mimalloc;
  nameRecorded = engine.nameRecorded;
  const allocator = [...calibration].map(([name, value]): [string, string] => [`mimalloc ${name}`, value]);
  return {
    ...engine,
    close() {
      nameRecorded = undefined;
      engine.close();
    },
    defaultDomains: refusal === undefined ? ["native"] : ["native", "array-buffer"],
    traceBuffers(alone) {
      if (refusal === undefined) {
        throw new UnsupportedError(
          'the domain "array-buffer" is for a Bun whose allocator cannot be traced: use "native", which has all buffers here',
        );
      }
      if (alone) shim.withoutNative();
      return traceArrayBuffers(shim);
    },
    traceWorkers: (domains) =>
      traceWorkers({ shim: shim.path, domains: domains.filter((domain) => domain !== "js-heap") }),
    calibration: new Map([
      ...engine.calibration,
      ...allocator,
      ...(refusal === undefined ? [] : [["mimalloc", refusal] as const]),
    ]),
  };
}

const openShim = keepShims(() => ensureShim(), makeShim);

function makeShim(path: string): BunShim {
  const ffi = process.getBuiltinModule("bun:ffi") as unknown as Ffi;
  let native: Native;
  const loaded = { exports: {} };
  try {
    native = ffi.dlopen(path, shimSymbols).symbols;
    process.dlopen(loaded, path);
  } catch (cause) {
    throw new UnsupportedError(`the shim ${path} cannot be loaded: build it again with \`bun tools/build_shim.ts\``, {
      cause,
    });
  }
  const abi = native.tracemalloc_abi();
  if (abi !== abiVersion) {
    throw new UnsupportedError(
      `the shim ${path} is of another version (ABI ${abi}, not ${abiVersion}): build it again with \`bun tools/build_shim.ts\``,
    );
  }
  const memory = new BigUint64Array(4), memoryAddress = ffi.ptr(memory);
  const track = (domain: number, address: number | bigint, size: number | bigint) => {
    const result = native.tracemalloc_track(domain, address, size);
    // The program is just calling a function of ours: what it runs can be named before the collector can come.
    if (native.tracemalloc_jsc_unnamed()) nameRecorded?.();
    return result;
  };
  const takeImage = (image: number | bigint) => {
    if (!image) return undefined;
    const bytes = new Uint8Array(Number(native.tracemalloc_copy(image, null, 0)));
    native.tracemalloc_copy(image, bytes, bytes.length);
    native.tracemalloc_release(image);
    return bytes;
  };
  return {
    path,
    module: loaded.exports as JscModule,
    status: () => Number(native.tracemalloc_status()),
    start: (nframe, flags) => Number(native.tracemalloc_start(nframe, flags)),
    sample: (bytes) => Number(native.tracemalloc_sample(bytes)),
    stop: () => Number(native.tracemalloc_stop()),
    clear: () => Number(native.tracemalloc_clear()),
    other: () => writtenText(native.tracemalloc_other) || undefined,
    memory() {
      native.tracemalloc_memory(memoryAddress);
      return [Number(memory[0]), Number(memory[1]), Number(memory[2]), Number(memory[3])];
    },
    resetPeak: () => void native.tracemalloc_reset_peak(),
    mute: (on) => void native.tracemalloc_mute(on ? 1 : 0),
    snapshot: () => takeImage(native.tracemalloc_snapshot()),
    snapshotOf: (domain, address) => takeImage(native.tracemalloc_snapshot_of(domain, address)),
    track: (domain, address, size) => Number(track(domain, address, size)),
    untrack: (domain, address) => Number(native.tracemalloc_untrack(domain, address)),
    withoutNative: () => Number(native.tracemalloc_without_native()),
    // As they are: every buffer of the program comes here.
    trackNumber: track,
    untrackNumber: native.tracemalloc_untrack,
    here: native.tracemalloc_here,
    trackNumberFrom: native.tracemalloc_track_from,
    jscOwn: (domain, first, last) => void native.tracemalloc_jsc_own(domain, first, last),
    // Pointers are numbers here.
    addressOf: (x) => x instanceof ArrayBuffer || x instanceof SharedArrayBuffer ? BigInt(ffi.ptr(x)) : undefined,
    save(path, first, second) {
      const result = native.tracemalloc_save(cString(path), first, first.length, second, second.length);
      if (result !== Result.ok) throw new Error(`cannot write ${path}: system error ${-Number(result)}`);
    },
    output: ({ path, head, milliseconds, bytes, signal }) =>
      Number(native.tracemalloc_output(cString(path), head, head.length, milliseconds, bytes, signal)),
    outputDone: () => void native.tracemalloc_output_done(),
    mimalloc: {
      begin: () => Number(native.tracemalloc_mimalloc_begin()),
      expect: (size) => void native.tracemalloc_mimalloc_expect(size),
      seen() {
        native.tracemalloc_mimalloc_seen(memoryAddress);
        return [memory[0]!, memory[1]!, memory[2]!];
      },
      garbage() {
        native.tracemalloc_mimalloc_garbage(memoryAddress);
        return [memory[0]!, memory[1]!];
      },
      end: (accept) => Number(native.tracemalloc_mimalloc_end(accept)),
      report: () => writtenText(native.tracemalloc_mimalloc_report),
    },
    jscHide: (pathPrefix) => void native.tracemalloc_jsc_hide(cString(pathPrefix)),
    jscBegin: () => Number(native.tracemalloc_jsc_begin()),
    jscEnd: () => Number(native.tracemalloc_jsc_end()),
    jscReport: () => writtenText(native.tracemalloc_jsc_report),
  };
}
