/** The shim's ABI, as shim/tracemalloc.h states it. */

/** Changes with every change of meaning; the shim must say the same. */
export const abiVersion = 11;

/** Bits of `Shim.status()`, and where the number of starts so far begins. */
export const Status = { tracing: 1, preloaded: 2, starts: 8 } as const;

/** Flags of `Shim.start()`. */
export const StartFlag = { mixed: 1, mmap: 2, withoutNative: 4 } as const;

/** Results of control functions. */
export const Result = {
  ok: 0,
  noMemory: -1,
  state: -2,
  calibration: -3,
  busy: -4,
  signal: -5,
  positions: -6,
  other: -7,
} as const;

/** Kinds of raw frames. */
export const FrameKind = { unknown: 0, script: 1, native: 2, thread: 3, memory: 4 } as const;

/** Why a frame is unknown, by its owner; what `info` says. */
export const unknownReasons: readonly string[] = [
  "code not recognised",
  "position not known",
  "stack not readable",
  "out of memory",
];

/** Bits of a frame's tiers. */
export const Tier = { interpreter: 1, baseline: 2, maglev: 4, turbofan: 8, inlined: 16 } as const;

/** Bits of a script's flags. */
export const ScriptFlag = { internal: 1, foreign: 2 } as const;

/** What calibration reached. */
export const Level = {
  frames: 1,
  anchors: 2,
  reentry: 4,
  baseline: 8,
  maglev: 16,
  turbofan: 32,
  inlining: 64,
  fastCall: 128,
} as const;

/** What to do with what calibration found. */
export const Verdict = { refuse: 0, accept: 1, acceptProfiled: 2 } as const;

/** What is known of the records of V8's samples; above bit `tiers`, those of the code for which they were verified. */
export const RecordState = { unknown: 0, learnt: 1, profiled: 2, refused: 3, tiers: 8 } as const;

/** `tm_v8_spec`: offsets in bytes. */
export const specLayout = { files: [0, 64], sourceUrl: 128, sourceHead: 192, numbers: 224, bytes: 300 } as const;

/** What an image counts beside the traces, in its order; what `info` says. */
export const counterNames: readonly string[] = [
  "calls lost in signal handlers",
  "blocks lost for want of memory",
  "calls lost for want of a thread's record",
  "frames decoded",
  "looks at the address space",
  "sampled objects lost",
];

/** Steps of JavaScriptCore's calibration. */
export const CalibrationStep = {
  frames: 0,
  framesAgain: 1,
  enter: 2,
  entered: 3,
  count: 4,
  collected: 5,
  notCollected: 6,
  cold: 7,
  code: 8,
  hot: 9,
  end: 10,
  idle: 11,
  counted: 12,
} as const;
