/**
 * Python's `tracemalloc` for JavaScript runtimes: which line of the program allocated the memory that is still in use.
 *
 * @module
 */
import "./lib/host/connect.ts";

export { aggregate, type AggregateOptions } from "./lib/aggregate/aggregate.ts";
export { compareFiles } from "./lib/aggregate/compare_files.ts";
export { mergeFiles } from "./lib/aggregate/merge_files.ts";
export type { SnapshotSource } from "./lib/aggregate/source.ts";
export type { ByteSource } from "./lib/format/reader.ts";
export type { Damage, LoadOptions } from "./lib/model/codec.ts";
export { Domain, type DomainName } from "./lib/model/domain.ts";
export { DomainFilter } from "./lib/model/domain_filter.ts";
export { NotTracingError, SnapshotFormatError, TracemallocError, UnsupportedError } from "./lib/model/errors.ts";
export { Filter, type FilterOptions } from "./lib/model/filter.ts";
export { Frame } from "./lib/model/frame.ts";
export type { KeyType } from "./lib/model/key_type.ts";
export { Snapshot } from "./lib/model/snapshot.ts";
export { Statistic } from "./lib/model/statistic.ts";
export { StatisticDiff } from "./lib/model/statistic_diff.ts";
export { Trace } from "./lib/model/trace.ts";
export { Traceback } from "./lib/model/traceback.ts";
export type { Traces } from "./lib/model/traces.ts";
export { getObjectTraceback, track, untrack } from "./lib/tracer/objects.ts";
export {
  clearTraces,
  getTracebackLimit,
  getTracedMemory,
  getTracemallocMemory,
  isTracing,
  resetPeak,
  type SnapshotOptions,
  start,
  type StartOptions,
  stop,
  takeSnapshot,
} from "./lib/tracer/tracing.ts";
