import type { TracebackTable } from "../aggregate/traceback_sums.ts";
import type { SnapshotMetadata } from "../model/columns.ts";
import { formatInteger, formatSize } from "../model/format_number.ts";
import { script, scriptHash, style, styleHash } from "./generated/page.ts";
import type { PageData, PageSnapshot } from "./page_data.ts";

/** What is reported: a snapshot, or one beside an older one. */
export interface ReportSource {
  readonly table: TracebackTable;
  readonly newer: ReportSnapshot;
  /** `null` where `table` has no older one either. */
  readonly older: ReportSnapshot | null;
  /** The lines of a source file, if they may be shown; undefined otherwise. */
  readonly linesOf: (filename: string) => readonly string[] | undefined;
}

/** A snapshot beside its traces. */
export interface ReportSnapshot {
  readonly name: string;
  readonly metadata: SnapshotMetadata;
  /** `null` where it is not known. */
  readonly tracebackLimit: number | null;
}

/** Characters of source that a report holds at most, those of the heaviest tracebacks first. */
const mostSource = 4 * 2 ** 20;
/** Lines before and after that of a frame. */
const around = 2;
/** Characters of a line that are kept. */
const longestLine = 240;

/**
 * A page that shows all of it, piece by piece: a single file that needs no network. Everything that comes from a
 * snapshot stands in it as JSON, which cannot end the element that it is in, and is only ever shown as text; nothing but
 * the page's own script is allowed to run.
 */
export function* reportHtml(source: ReportSource): Generator<string, void, undefined> {
  const policy = `default-src 'none'; base-uri 'none'; form-action 'none'; script-src '${scriptHash}'; ` +
    `style-src '${styleHash}'`;
  yield `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width">
<meta name="generator" content="tracemalloc">
<title>${escapeHtml(`Memory in use: ${source.newer.name}`)}</title>
<style>${style}</style>
</head>
<body>
<noscript>This report needs JavaScript, which is in this file; nothing is loaded from elsewhere.</noscript>
<script type="application/json" id="data">`;
  yield* dataJson(source);
  yield `</script>
<script>${script}</script>
</body>
</html>
`;
}

/** {@link PageData}, without the character that could end the element around it. */
function* dataJson(source: ReportSource): Generator<string, void, undefined> {
  const { table, newer, older } = source;
  const data: { [Key in keyof PageData]: () => PageData[Key] } = {
    newer: () => pageSnapshot(newer),
    older: () => older && pageSnapshot(older),
    filenames: () => table.filenames,
    frameFilename: () => [...table.frameFilename],
    frameLineno: () => [...table.frameLineno],
    nodeParent: () => [...table.nodeParent],
    nodeFrame: () => [...table.nodeFrame],
    node: () => [...table.node],
    domain: () => [...table.domain],
    size: () => [...table.size],
    count: () => [...table.count],
    olderSize: () => [...table.older?.size ?? []],
    olderCount: () => [...table.older?.count ?? []],
    sources: () => sourcesOf(source),
  };
  let separator = "{";
  for (const [key, value] of Object.entries(data)) {
    yield `${separator}${JSON.stringify(key)}:${JSON.stringify(value()).replaceAll("<", "\\u003c")}`;
    separator = ",\n";
  }
  yield "}";
}

function pageSnapshot({ name, metadata, tracebackLimit }: ReportSnapshot): PageSnapshot {
  const { runtime, runtimeVersion, engine, platform, pid, createdAt, attribution } = metadata;
  const facts: (readonly [string, string | undefined])[] = [
    ["runtime", [runtime, runtimeVersion].filter((part) => part !== undefined).join(" ") || undefined],
    ["engine", engine],
    ["platform", platform],
    ["process", pid === undefined ? undefined : `${pid}`],
    ["traceback limit", tracebackLimit === null ? undefined : `${tracebackLimit}`],
    ...(attribution ?? []).map(({ reason, blocks, bytes }) =>
      [reason, `${formatInteger(blocks)} blocks, ${formatSize(bytes)}`] as const
    ),
  ];
  return {
    name,
    facts: facts.filter((fact): fact is readonly [string, string] => fact[1] !== undefined),
    createdAt: createdAt ?? null,
  };
}

/** The lines around the frames, by file. */
function sourcesOf({ table, linesOf }: ReportSource): PageData["sources"] {
  const { filenames, frameFilename, frameLineno, nodeParent, nodeFrame } = table;
  const files = new Map<number, readonly string[] | undefined>();
  const sources: (Record<number, string> | null)[] = filenames.map(() => null);
  const seen = new Uint8Array(nodeParent.length);
  let left = mostSource;
  for (let node of table.node) {
    for (; node !== 0 && seen[node] === 0; node = nodeParent[node]!) {
      seen[node] = 1;
      const file = frameFilename[nodeFrame[node]!]!, lineno = frameLineno[nodeFrame[node]!]!;
      if (lineno === 0) continue;
      if (!files.has(file)) files.set(file, linesOf(filenames[file]!));
      const lines = files.get(file);
      if (lines === undefined) continue;
      const shown = sources[file] ??= {};
      for (let i = Math.max(1, lineno - around); i <= lineno + around && i <= lines.length; i++) {
        if (shown[i] !== undefined) continue;
        const line = lines[i - 1]!, text = line.length > longestLine ? `${line.slice(0, longestLine)}…` : line;
        left -= text.length;
        if (left < 0) return sources;
        shown[i] = text;
      }
    }
  }
  return sources;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
