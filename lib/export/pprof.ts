import { Function, Label, Line, Location, Mapping, Profile, Sample, StringTable, ValueType } from "pprof-format";
import { domainName } from "../model/domain.ts";
import { frameLabel, framesUp, wholeNumbers } from "./frames.ts";
import type { ExportSource, ExportTarget } from "./target.ts";

/** How `go tool pprof -diff_base` marks what it subtracts, so that percentages are of the older profile. */
const baseLabel = "pprof::base";

/** The protocol buffers of pprof, compressed: `go tool pprof`, and servers for continuous profiling. */
export const pprof: ExportTarget = {
  name: "pprof",
  summary: "go tool pprof and servers for continuous profiling",
  differences: true,
  binary: true,
  write(source) {
    const bytes = new Blob([encode(source).slice()]);
    return chunksOf(bytes.stream().pipeThrough(new CompressionStream("gzip")));
  },
};

async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of stream) yield chunk;
}

function encode({ table, metadata }: ExportSource): Uint8Array {
  const strings = new StringTable();
  const text = (value: string) => strings.dedup(value);
  const valueType = (type: string, unit: string) => new ValueType({ type: text(type), unit: text(unit) });
  const mappings = new Mappings(metadata.runtime ?? "javascript", text);
  const locations: Location[] = [], functions: Function[] = [];
  // Ids are those of the frames, from 1. Tools group by the names of functions, and here a line is what counts. Without a
  // system name they are not taken for C++, whose `<…>` would be cut out.
  for (const [frame, file] of table.frameFilename.entries()) {
    const filename = table.filenames[file]!, line = table.frameLineno[frame]!;
    const id = frame + 1, name = text(frameLabel(filename, line));
    functions.push(new Function({ id, name, filename: text(filename), startLine: line }));
    locations.push(
      new Location({ id, mappingId: mappings.idOf(filename, line), line: [new Line({ functionId: id, line })] }),
    );
  }
  const samples: Sample[] = [];
  const add = (count: Float64Array, size: Float64Array, sign: 1 | -1) => {
    const blocks = wholeNumbers(count), bytes = wholeNumbers(size);
    table.node.forEach((node, row) => {
      if (blocks[row] === 0 && bytes[row] === 0) return;
      const label = [new Label({ key: text("domain"), str: text(domainName(table.domain[row]!)) })];
      if (sign < 0) label.push(new Label({ key: text(baseLabel), str: text("true") }));
      samples.push(
        new Sample({
          locationId: framesUp(table, node).map((frame) => frame + 1),
          value: [int64(sign * blocks[row]!), int64(sign * bytes[row]!)],
          label,
        }),
      );
    });
  };
  add(table.count, table.size, 1);
  if (table.older !== null) add(table.older.count, table.older.size, -1);
  const { engine, platform, pid, createdAt } = metadata;
  return new Profile({
    sampleType: [valueType("inuse_objects", "count"), valueType("inuse_space", "bytes")],
    defaultSampleType: text("inuse_space"),
    periodType: valueType("space", "bytes"),
    period: 1,
    timeNanos: createdAt === undefined ? 0 : int64(createdAt * 1e6),
    comment: [engine, platform, pid === undefined ? undefined : `process ${pid}`]
      .filter((comment) => comment !== undefined).map(text),
    sample: samples,
    mapping: mappings.all,
    location: locations,
    function: functions,
    stringTable: strings,
  }).encode();
}

/** What code comes from: the runtime, with all JavaScript, and native libraries. */
class Mappings {
  readonly all: Mapping[] = [];
  readonly #ids = new Map<string, number>();
  readonly #main: string;
  readonly #text: (value: string) => number;

  constructor(main: string, text: (value: string) => number) {
    this.#main = main;
    this.#text = text;
    // Tools take the first for the program itself.
    this.#id(main);
  }

  idOf(filename: string, lineno: number): number {
    // `library!symbol`, `library+0xoffset`
    const library = lineno === 0 ? /^([^<].*?)(?:!|\+0x)/.exec(filename)?.[1] : undefined;
    return this.#id(library ?? this.#main);
  }

  #id(name: string): number {
    let id = this.#ids.get(name);
    if (id === undefined) {
      id = this.all.length + 1;
      this.#ids.set(name, id);
      const known = { hasFunctions: true, hasFilenames: true, hasLineNumbers: true };
      this.all.push(new Mapping({ id, filename: this.#text(name), ...known }));
    }
    return id;
  }
}

const greatest = 2n ** 63n - 1n;

/** Numbers beyond 2^53 are exact as `bigint` alone; those beyond 64 bits become the greatest there is. */
function int64(value: number): number | bigint {
  if (Math.abs(value) <= Number.MAX_SAFE_INTEGER) return Math.trunc(value);
  const whole = BigInt(Math.trunc(value));
  return whole > greatest ? greatest : whole < -greatest ? -greatest : whole;
}
