/** Reads the image of a snapshot (shim/tracemalloc.h) that the shim hands out. */
import { abiVersion } from "./abi.ts";

/** An image's columns; views on its bytes. */
export interface Image {
  /** All of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly tracebackLimit: number;
  readonly pid: number;
  readonly strings: readonly string[];
  readonly scriptUrl: Uint32Array;
  readonly scriptFlags: Uint32Array;
  /** UTF-16 units of the compiled text. */
  readonly scriptLength: Uint32Array;
  /** 32-bit FNV-1a over them; 0: not known. */
  readonly scriptHash: Uint32Array;
  /** Of code from eval: the frame that called it, plus 1; 0: not known. */
  readonly scriptOrigin: Uint32Array;
  readonly frameKind: Uint32Array;
  readonly frameOwner: Uint32Array;
  readonly frameLine: Uint32Array;
  readonly frameColumn: Uint32Array;
  readonly frameTiers: Uint32Array;
  readonly nodeParent: Uint32Array;
  readonly nodeFrame: Uint32Array;
  /** Bytes ever asked for, by node; empty where that was not counted. */
  readonly nodeAllocated: Float64Array;
  readonly rowSize: Float64Array;
  readonly rowBlocks: Float64Array;
  readonly rowNode: Uint32Array;
  readonly rowDomain: Uint32Array;
  readonly counters: readonly number[];
}

/** Reads the columns of an image, which is trusted: it comes from the shim in this process or from its file. */
export function readImage(bytes: Uint8Array<ArrayBuffer>): Image {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const u32 = () => view.getUint32((at += 4) - 4, true);
  const u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const total = u64(), abi = u32(), tracebackLimit = u32(), pid = u64();
  if (abi !== abiVersion || total !== bytes.byteLength) {
    throw new Error(
      `expected an image of ABI ${abiVersion} with ${total} bytes, found ABI ${abi} with ${bytes.byteLength}`,
    );
  }
  const u32s = (count: number, offset: number) => new Uint32Array(bytes.buffer, bytes.byteOffset + offset, count);
  const f64s = (count: number, offset: number) => new Float64Array(bytes.buffer, bytes.byteOffset + offset, count);

  const stringCount = u64(), stringEnds = u32s(stringCount, u64()), stringBytes = u64();
  const decoder = new TextDecoder();
  const strings = Array.from(stringEnds, (end, i) => {
    const start = i === 0 ? 0 : stringEnds[i - 1]!;
    return decoder.decode(bytes.subarray(stringBytes + start, stringBytes + end));
  });
  const scripts = u64(), scriptUrl = u32s(scripts, u64()), scriptFlags = u32s(scripts, u64());
  const scriptLength = u32s(scripts, u64()), scriptHash = u32s(scripts, u64());
  const scriptOrigin = u32s(scripts, u64());
  const frames = u64();
  const frameKind = u32s(frames, u64()), frameOwner = u32s(frames, u64());
  const frameLine = u32s(frames, u64()), frameColumn = u32s(frames, u64()), frameTiers = u32s(frames, u64());
  const nodes = u64(), nodeParent = u32s(nodes, u64()), nodeFrame = u32s(nodes, u64());
  const counted = u64(), nodeAllocated = f64s(counted, u64());
  const rows = u64(), rowSize = f64s(rows, u64()), rowBlocks = f64s(rows, u64());
  const rowNode = u32s(rows, u64()), rowDomain = u32s(rows, u64());
  const counterCount = u64(), counterOffset = u64();
  const counters = Array.from(new BigUint64Array(bytes.buffer, bytes.byteOffset + counterOffset, counterCount), Number);
  return {
    bytes,
    tracebackLimit,
    pid,
    strings,
    scriptUrl,
    scriptFlags,
    scriptLength,
    scriptHash,
    scriptOrigin,
    frameKind,
    frameOwner,
    frameLine,
    frameColumn,
    frameTiers,
    nodeParent,
    nodeFrame,
    nodeAllocated,
    rowSize,
    rowBlocks,
    rowNode,
    rowDomain,
    counters,
  };
}
