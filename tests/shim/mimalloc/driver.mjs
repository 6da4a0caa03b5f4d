/** The shim by bun:ffi alone, for programs that look at what it says of Bun's own allocator. */
import { dlopen, ptr } from "bun:ffi";
import { openMimalloc } from "../../../lib/runtime/mimalloc.ts";
import { readImage } from "../../../lib/tracer/image.ts";

const native = dlopen(process.env.SHIM, {
  tracemalloc_start: { args: ["u32", "u32"], returns: "i32" },
  tracemalloc_stop: { args: [], returns: "i32" },
  tracemalloc_clear: { args: [], returns: "i32" },
  tracemalloc_memory: { args: ["ptr"], returns: "void" },
  tracemalloc_mute: { args: ["i32"], returns: "void" },
  tracemalloc_snapshot: { args: [], returns: "ptr" },
  tracemalloc_snapshot_of: { args: ["u32", "u64"], returns: "ptr" },
  tracemalloc_copy: { args: ["ptr", "ptr", "u64"], returns: "u64" },
  tracemalloc_release: { args: ["ptr"], returns: "void" },
  tracemalloc_mimalloc_begin: { args: [], returns: "i32" },
  tracemalloc_mimalloc_expect: { args: ["u64"], returns: "void" },
  tracemalloc_mimalloc_seen: { args: ["ptr"], returns: "void" },
  tracemalloc_mimalloc_garbage: { args: ["ptr"], returns: "void" },
  tracemalloc_mimalloc_end: { args: ["i32"], returns: "i32" },
  tracemalloc_mimalloc_report: { args: ["ptr", "i32"], returns: "i32" },
}).symbols;

const numbers = new BigUint64Array(4), text = new Uint8Array(4096);

/** What `openMimalloc` says. */
export function open() {
  return openMimalloc({
    begin: native.tracemalloc_mimalloc_begin,
    expect: native.tracemalloc_mimalloc_expect,
    end: native.tracemalloc_mimalloc_end,
    seen() {
      native.tracemalloc_mimalloc_seen(numbers);
      return [numbers[0], numbers[1], numbers[2]];
    },
    garbage() {
      native.tracemalloc_mimalloc_garbage(numbers);
      return [numbers[0], numbers[1]];
    },
    report: () => new TextDecoder().decode(text.subarray(0, native.tracemalloc_mimalloc_report(text, text.length))),
  }, (buffer) => BigInt(ptr(buffer)));
}

export const start = () => native.tracemalloc_start(1, 0);
export const stop = () => native.tracemalloc_stop();
export const clear = () => native.tracemalloc_clear();

/** Bytes traced now. */
export function current() {
  native.tracemalloc_memory(numbers);
  return Number(numbers[0]);
}

function takeImage(image) {
  const bytes = new Uint8Array(Number(native.tracemalloc_copy(image, null, 0)));
  native.tracemalloc_copy(image, bytes, bytes.length);
  native.tracemalloc_release(image);
  return readImage(bytes);
}

/** Rows of an image, the name of the frame beside the number: `{ size, blocks, kind, name }`. */
function rowsOf(image) {
  return Array.from(image.rowSize, (size, i) => {
    const frame = image.nodeFrame[image.rowNode[i]];
    const kind = image.frameKind[frame];
    return { size, blocks: image.rowBlocks[i], kind, name: image.strings[image.frameOwner[frame]] };
  });
}

export function rows() {
  native.tracemalloc_mute(1);
  try {
    return rowsOf(takeImage(native.tracemalloc_snapshot()));
  } finally {
    native.tracemalloc_mute(0);
  }
}

/** Blocks of one size. */
export const blocks = (size) => rows().filter((row) => row.size === size).reduce((sum, row) => sum + row.blocks, 0);

export const rowAt = (buffer) => rowsOf(takeImage(native.tracemalloc_snapshot_of(0, BigInt(ptr(buffer)))))[0];

/** Collects, and lets finalizers run. */
export async function collect() {
  for (let i = 0; i < 3; i++) {
    Bun.gc(true);
    await new Promise((done) => setImmediate(done));
  }
}
