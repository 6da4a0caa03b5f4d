/** Deno: the shim by FFI. */
import process from "node:process";
import { UnsupportedError } from "../model/errors.ts";
import { abiVersion, Result } from "../tracer/abi.ts";
import type { Backend, JsHeapObjects, V8Shim } from "./backend.ts";
import { checkLastBuilt, ensureShim, keepShims, lastBuilt, type Owned } from "./shim_file.ts";
import { cString, writtenText } from "./shim_text.ts";
import { foreignPositions, openV8, originalPositions } from "./v8.ts";

// Not imported, for Bun loads this, too: see shim_file.ts.
const { accessSync, constants, existsSync, lstatSync } = process.getBuiltinModule("node:fs");

/** Tracing on Deno. */
export function denoBackend(): Backend<V8Shim> {
  const { version, build } = Deno;
  return {
    runtime: "deno",
    runtimeVersion: version.deno,
    engine: `V8 ${version.v8}`,
    platform: `${build.os}-${build.arch}`,
    openShim,
    openEngine: (shim) =>
      openV8(shim, {
        fastCalls: true,
        originalPositions: (url, positions, foreign) =>
          foreign
            ? foreignPositions(url, positions, foreign, { compiledFiles, isPlain, readText })
            : originalPositions(url, positions),
        refused: (why, cause) =>
          new UnsupportedError(
            `${why}, and asking it to needs a permission: add --allow-sys, or run the program with \`tracemalloc run\``,
            { cause },
          ),
      }),
  };
}

const symbols = {
  tracemalloc_abi: { parameters: [], result: "u32" },
  tracemalloc_status: { parameters: [], result: "u32" },
  tracemalloc_start: { parameters: ["u32", "u32"], result: "i32" },
  tracemalloc_sample: { parameters: ["u32"], result: "i32" },
  tracemalloc_stop: { parameters: [], result: "i32" },
  tracemalloc_clear: { parameters: [], result: "i32" },
  tracemalloc_other: { parameters: ["buffer", "i32"], result: "i32" },
  tracemalloc_memory: { parameters: ["buffer"], result: "void" },
  tracemalloc_reset_peak: { parameters: [], result: "void" },
  tracemalloc_mute: { parameters: ["i32"], result: "void" },
  tracemalloc_snapshot: { parameters: [], result: "pointer" },
  tracemalloc_snapshot_of: { parameters: ["u32", "u64"], result: "pointer" },
  tracemalloc_track: { parameters: ["u32", "u64", "u64"], result: "i32" },
  tracemalloc_untrack: { parameters: ["u32", "u64"], result: "i32" },
  buffer_address: { name: "tracemalloc_address", parameters: ["buffer"], result: "u64" },
  pointer_address: { name: "tracemalloc_address", parameters: ["pointer"], result: "u64" },
  tracemalloc_v8_hide: { parameters: ["buffer"], result: "void" },
  tracemalloc_copy: { parameters: ["pointer", "buffer", "u64"], result: "u64" },
  tracemalloc_release: { parameters: ["pointer"], result: "void" },
  tracemalloc_save: { parameters: ["buffer", "buffer", "u64", "buffer", "u64"], result: "i32" },
  tracemalloc_output: { parameters: ["buffer", "buffer", "u64", "u64", "u64", "i32"], result: "i32" },
  tracemalloc_output_done: { parameters: [], result: "void" },
  tracemalloc_v8_begin: { parameters: ["buffer"], result: "i32" },
  tracemalloc_v8_check: { parameters: ["buffer"], result: "i32" },
  tracemalloc_v8_probe: { parameters: ["i32"], result: "i32" },
  tracemalloc_v8_option: { parameters: ["buffer"], result: "i32" },
  tracemalloc_v8_end: { parameters: ["i32"], result: "i32" },
  tracemalloc_v8_report: { parameters: ["buffer", "i32"], result: "i32" },
  tracemalloc_js_heap_watch: { parameters: [], result: "i32" },
  tracemalloc_js_heap_learn: { parameters: ["buffer"], result: "i32" },
  tracemalloc_js_heap_began: { parameters: ["u32"], result: "i32" },
  tracemalloc_js_heap_known: { parameters: [], result: "i32" },
  tracemalloc_js_heap_verify: { parameters: [], result: "i32" },
  tracemalloc_js_heap_verify_end: { parameters: [], result: "void" },
  tracemalloc_js_heap_verified: { parameters: ["buffer", "i32"], result: "i32" },
  tracemalloc_js_heap_judge: { parameters: ["i32", "u32"], result: "void" },
  tracemalloc_js_heap_start: { parameters: ["u32", "u32"], result: "i32" },
  tracemalloc_js_heap_end: { parameters: [], result: "void" },
  tracemalloc_js_heap_state: { parameters: [], result: "i32" },
  tracemalloc_js_heap_unsampled: { parameters: [], result: "u32" },
  tracemalloc_v8_frames: { parameters: ["buffer", "i32"], result: "i32" },
} as const;

/** What a user can do about a shim that is missing. */
const build = `deno run -A ${new URL("../../tools/build_shim.ts", import.meta.url).pathname}`;

const openShim = keepShims(shimPath, (path) => makeShim(path, openLibrary(path).symbols));

function granted(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** Deno's cache of what it has compiled; its path goes by environment variables. */
function compiledFolder(): string | undefined {
  const cache = variable("DENO_DIR") ?? inFolder(variable("XDG_CACHE_HOME"), "deno") ??
    inFolder(variable("HOME"), ".cache/deno");
  return inFolder(cache, "gen");
}

function variable(name: string): string | undefined {
  return (granted({ name: "env", variable: name }) && Deno.env.get(name)) || undefined;
}

function inFolder(folder: string | undefined, name: string): string | undefined {
  return folder === undefined ? undefined : `${folder}/${name}`;
}

function compiledFiles(url: string): string[] {
  if (!URL.canParse(url)) return [];
  const compiled = compiledFolder(), { protocol, host, pathname, search } = new URL(url);
  const scheme = protocol.slice(0, -1);
  if (scheme === "file") {
    const path = decodeURIComponent(pathname);
    return [...(compiled === undefined ? [] : [`${compiled}/file${path}.js`]), path];
  }
  if (compiled === undefined || !/^(?:https?|data|blob)$/.test(scheme)) return [];
  const { createHash } = process.getBuiltinModule("node:crypto");
  const name = createHash("sha256").update(pathname + search).digest("hex");
  return [`${compiled}/${scheme}/${host === "" ? "" : `${host.replace(":", "_PORT")}/`}${name}.js`];
}

function isPlain(url: string): boolean {
  // Names of code that the program itself hands to the engine.
  if (!URL.canParse(url)) return true;
  const { protocol, pathname } = new URL(url);
  if (protocol === "data:") return /^(?:text|application)\/javascript[,;]/.test(pathname);
  // A blob's type is not known; but had it been compiled, that would have been written down.
  if (protocol === "blob:") return writesCompiled() && compiledFiles(url).every((file) => !existsSync(file));
  return /\.[cm]?js$/.test(pathname);
}

function writesCompiled(): boolean {
  const folder = compiledFolder();
  if (folder === undefined || !granted({ name: "read", path: folder })) return false;
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function readText(path: string): string | undefined {
  if (!granted({ name: "read", path })) return undefined;
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return undefined;
    throw error;
  }
}

/** Building needs more than tracing does: a program that may not do it takes what was built before. */
function shimPath(): string {
  if ((["read", "write", "run", "env", "sys"] as const).every((name) => granted({ name }))) return ensureShim();
  requirePermission(lastBuilt);
  checkLastBuilt((path) => {
    if (granted({ name: "read", path })) return lstatSync(path, { throwIfNoEntry: false });
    return granted({ name: "ffi" }) ? statByC(path) : null;
  }, "--allow-read");
  return lastBuilt;
}

function requirePermission(path: string): void {
  if (granted({ name: "ffi", path })) return;
  throw new UnsupportedError(`loading the shim needs a permission: add --allow-ffi (or --allow-ffi=${path})`);
}

/** What the C library says: a program that may load any library may do as much as one that may read. */
function statByC(path: string): Owned | undefined {
  const library = Deno.dlopen("libc.so.6", {
    statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  });
  const relativeTo = -100, notFollowed = 0x100, mask = 0x7ff; // AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS
  const stats = new DataView(new ArrayBuffer(256));
  const result = library.symbols.statx(relativeTo, cString(path), notFollowed, mask, new Uint8Array(stats.buffer));
  library.close();
  return result === 0 ? { uid: stats.getUint32(20, true), mode: stats.getUint16(28, true) } : undefined;
}

function openLibrary(path: string): Deno.DynamicLibrary<typeof symbols> {
  requirePermission(path);
  let library: Deno.DynamicLibrary<typeof symbols>;
  try {
    library = Deno.dlopen(path, symbols);
  } catch (cause) {
    throw new UnsupportedError(
      `the shim ${path} cannot be loaded: build it with \`${build}\`, ` +
        "or give --allow-read --allow-write --allow-run --allow-env --allow-sys for it to be built now",
      { cause },
    );
  }
  const abi = library.symbols.tracemalloc_abi();
  if (abi !== abiVersion) {
    throw new UnsupportedError(
      `the shim ${path} is of another version (ABI ${abi}, not ${abiVersion}): build it again with \`${build}\``,
    );
  }
  return library;
}

/** The shim once more, as a Node-API module: FFI takes no objects. */
function loadModule(path: string): JsHeapObjects {
  const loaded = { exports: {} as JsHeapObjects };
  process.dlopen(loaded, path);
  return loaded.exports;
}

function makeShim(path: string, native: Deno.DynamicLibrary<typeof symbols>["symbols"]): V8Shim {
  let objects: JsHeapObjects | undefined;
  const module = () => objects ??= loadModule(path);
  const memory = new BigUint64Array(4);
  const takeImage = (image: Deno.PointerValue) => {
    if (image === null) return undefined;
    // Not by an UnsafePointerView, which would need --allow-ffi for more than the shim.
    const bytes = new Uint8Array(Number(native.tracemalloc_copy(image, new Uint8Array(0), 0n)));
    native.tracemalloc_copy(image, bytes, BigInt(bytes.length));
    native.tracemalloc_release(image);
    return bytes;
  };
  return {
    status: native.tracemalloc_status,
    start: native.tracemalloc_start,
    sample: native.tracemalloc_sample,
    stop: native.tracemalloc_stop,
    clear: native.tracemalloc_clear,
    other: () => writtenText(native.tracemalloc_other) || undefined,
    memory() {
      native.tracemalloc_memory(memory);
      return [Number(memory[0]), Number(memory[1]), Number(memory[2]), Number(memory[3])];
    },
    resetPeak: native.tracemalloc_reset_peak,
    mute: (on) => native.tracemalloc_mute(on ? 1 : 0),
    snapshot: () => takeImage(native.tracemalloc_snapshot()),
    snapshotOf: (domain, address) => takeImage(native.tracemalloc_snapshot_of(domain, address)),
    track: native.tracemalloc_track,
    untrack: native.tracemalloc_untrack,
    addressOf(x) {
      if (x instanceof ArrayBuffer || x instanceof SharedArrayBuffer) {
        return native.buffer_address(new Uint8Array(x as ArrayBuffer));
      }
      // Of the frozen objects without a prototype, Node-API knows the pointers.
      const isPointer = Object.getPrototypeOf(x) === null && Object.isFrozen(x) && module().isPointer(x) === 1;
      return isPointer ? native.pointer_address(x as Deno.PointerObject) : undefined;
    },
    save(path, first, second) {
      const result = native.tracemalloc_save(cString(path), first, BigInt(first.length), second, BigInt(second.length));
      if (result !== Result.ok) throw new Error(`cannot write ${path}: system error ${-result}`);
    },
    output: ({ path, head, milliseconds, bytes, signal }) =>
      native.tracemalloc_output(
        cString(path),
        head,
        BigInt(head.length),
        BigInt(milliseconds),
        BigInt(bytes),
        signal,
      ),
    outputDone: native.tracemalloc_output_done,
    v8Hide: (urlPrefix) => native.tracemalloc_v8_hide(cString(urlPrefix)),
    v8Begin: native.tracemalloc_v8_begin,
    v8Check: native.tracemalloc_v8_check,
    v8Probe: native.tracemalloc_v8_probe,
    v8Option: (name) => native.tracemalloc_v8_option(cString(name)),
    v8End: native.tracemalloc_v8_end,
    v8Report: () => writtenText(native.tracemalloc_v8_report),
    jsHeapWatch: native.tracemalloc_js_heap_watch,
    jsHeapLearn: ({ first, step, count, rounds, interval, confirm }) =>
      native.tracemalloc_js_heap_learn(Uint32Array.of(first, step, count, rounds, interval, confirm ? 1 : 0)),
    jsHeapKnown: native.tracemalloc_js_heap_known,
    jsHeapVerify: native.tracemalloc_js_heap_verify,
    jsHeapVerifyEnd: native.tracemalloc_js_heap_verify_end,
    jsHeapVerified: (rows) => native.tracemalloc_js_heap_verified(rows, rows.length),
    jsHeapJudge: native.tracemalloc_js_heap_judge,
    jsHeapStart: (interval, alone) => native.tracemalloc_js_heap_start(interval, alone ? 1 : 0),
    jsHeapBegan: native.tracemalloc_js_heap_began,
    jsHeapEnd: native.tracemalloc_js_heap_end,
    jsHeapState: native.tracemalloc_js_heap_state,
    jsHeapUnsampled: native.tracemalloc_js_heap_unsampled,
    get jsHeapObjects() {
      return module();
    },
    v8Frames(most) {
      const frames = new Uint32Array(3 * most);
      return frames.subarray(0, 3 * Math.max(0, native.tracemalloc_v8_frames(frames, most)));
    },
  };
}
