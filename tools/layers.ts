/**
 * Checks that every folder imports only what it may import and says only what it may say (the rooms below), and that
 * no files import each other in a circle. Prints one line a problem: `file:line: what is wrong; what to do`.
 *
 *   deno run --allow-read tools/layers.ts
 */
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { scan } from "./scan.ts";

/** What the files under a path may do; of several rooms that contain a file, the first listed counts. */
interface Room {
  readonly path: string;
  /** Folders and files that it may import besides itself. */
  readonly may: readonly string[];
  /** Packages that it may import; a name that ends in `:` stands for all that begin so. */
  readonly packages: readonly string[];
  /** May it name what only one runtime has? */
  readonly runtimeSpecific?: boolean;
  /** Must it run in a browser? */
  readonly pure?: boolean;
}

const rooms: readonly Room[] = [
  { path: "mod.ts", may: ["lib/"], packages: [] },
  { path: "cli.ts", may: ["lib/"], packages: [] },
  { path: "lib/model/", may: [], packages: [], pure: true },
  { path: "lib/format/generated/", may: [], packages: ["flatbuffers"], pure: true },
  { path: "lib/format/", may: ["lib/model/"], packages: ["flatbuffers", "node:", "@std/path"] },
  { path: "lib/aggregate/", may: ["lib/model/", "lib/format/"], packages: [], pure: true },
  { path: "lib/export/", may: ["lib/model/", "lib/aggregate/"], packages: ["pprof-format"], pure: true },
  {
    path: "lib/report/page/",
    may: ["lib/model/", "lib/report/page_data.ts", "lib/report/package_of.ts"],
    packages: ["d3-hierarchy", "d3-selection"],
    pure: true,
  },
  { path: "lib/report/", may: ["lib/model/", "lib/aggregate/"], packages: [], pure: true },
  { path: "lib/host/", may: ["lib/model/", "lib/format/"], packages: ["node:", "@std/path"] },
  {
    path: "lib/tracer/",
    may: ["lib/model/", "lib/runtime/backend.ts", "lib/runtime/detect.ts"],
    packages: ["node:", "@std/path", "@jridgewell/trace-mapping"],
  },
  {
    path: "lib/runtime/",
    may: ["lib/model/", "lib/tracer/"],
    packages: ["node:", "bun:", "@std/path"],
    runtimeSpecific: true,
  },
  { path: "lib/cli/", may: ["lib/"], packages: ["node:", "@std/path"] },
];

/** Imported by nobody outside. */
const generated = { path: "lib/format/generated/", importers: ["lib/format/", "tests/format/"] };

/** What only a room with `runtimeSpecific` may say, in code or in an import. */
const runtimeSpecific = /(?<![\w$.])(?:globalThis\s*\.\s*)?(?:Deno|Bun)\b(?!\s*:)|\bprocess\s*\.\s*dlopen\b/g;

/** What a pure room may not say either, because a browser has none of it. */
const notInBrowsers = /(?<![\w$.])(?:process|Buffer|require|__dirname|__filename)\b(?!\s*:)/g;

/** One thing to mend. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** Checks sources, given by their path from the root; only those of `mod.ts`, `cli.ts` and `lib/` have rules. */
export function checkLayers(sources: ReadonlyMap<string, string>): Problem[] {
  const problems: Problem[] = [];
  const graph = new Map<string, Edge[]>();
  for (const [file, source] of sources) {
    const room = rooms.find(({ path }) => file.startsWith(path));
    const { code, imports } = scan(source);
    const report = (offset: number, text: string) => problems.push({ file, line: lineOf(source, offset), text });
    if (room === undefined && (file.startsWith("lib/") || !file.includes("/"))) {
      report(0, "is in a folder without rules; move it, or add its folder to the rooms in tools/layers.ts");
      continue;
    }
    if (room !== undefined) checkWords(room, code, report);
    const edges: Edge[] = [];
    graph.set(file, edges);
    for (const { specifier, offset, typeOnly } of imports) {
      if (specifier === undefined) {
        if (room?.pure) report(offset, `imports a computed name; ${room.path} must say what it imports`);
        continue;
      }
      if (!specifier.startsWith(".")) {
        if (room !== undefined && !room.packages.some((name) => isPackage(specifier, name))) {
          report(
            offset,
            `imports ${specifier}; ${room.path} may import ${list(room.packages)}: ` +
              "do it in a folder that may, and hand over what is needed",
          );
        }
        continue;
      }
      const target = resolve(file, specifier);
      if (!typeOnly) edges.push({ target, line: lineOf(source, offset) });
      if (room !== undefined && !target.startsWith(room.path) && !room.may.some((path) => target.startsWith(path))) {
        report(
          offset,
          `imports ${target}; ${room.path} may import itself and ${list(room.may)}: ` +
            "move what is shared to where both may reach it, or hand it over as an argument",
        );
      }
      if (target.startsWith(generated.path) && !generated.importers.some((path) => file.startsWith(path))) {
        report(offset, `imports generated code; only ${list(generated.importers)} may: use what lib/format exports`);
      }
    }
  }
  return [...problems, ...circles(graph)];
}

function checkWords(room: Room, code: string, report: (offset: number, text: string) => void): void {
  if (!room.runtimeSpecific) {
    for (const match of code.matchAll(runtimeSpecific)) {
      report(match.index, `says ${match[0]}; only lib/runtime/ may: put it behind the Backend interface`);
    }
  }
  if (room.pure) {
    for (const match of code.matchAll(notInBrowsers)) {
      report(match.index, `says ${match[0]}, which browsers do not have; ${room.path} must run in one`);
    }
  }
}

interface Edge {
  readonly target: string;
  readonly line: number;
}

/** One problem for each import that closes a circle, in a walk over all files. */
function circles(graph: ReadonlyMap<string, readonly Edge[]>): Problem[] {
  const problems: Problem[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string) => {
    path.push(file);
    for (const { target, line } of graph.get(file) ?? []) {
      const start = path.indexOf(target);
      if (start >= 0) {
        const circle = [...path.slice(start), target].join(" → ");
        problems.push({ file, line, text: `closes a circle of imports, ${circle}; take out what both need` });
      } else if (!done.has(target)) visit(target);
    }
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) if (!done.has(file)) visit(file);
  return problems;
}

function isPackage(specifier: string, name: string): boolean {
  return name.endsWith(":") ? specifier.startsWith(name) : specifier === name || specifier.startsWith(`${name}/`);
}

function resolve(file: string, specifier: string): string {
  // The root of this URL is the root of the repository.
  return new URL(specifier, `file:///${file}`).pathname.slice(1);
}

function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

function list(names: readonly string[]): string {
  return names.length === 0 ? "nothing else" : names.join(", ");
}

function readSources(root: URL): Map<string, string> {
  const sources = new Map<string, string>();
  const read = (folder: string) => {
    for (const entry of readdirSync(new URL(folder, root), { withFileTypes: true })) {
      if (entry.isDirectory()) read(`${folder}${entry.name}/`);
      else if (/\.[mc]?[jt]s$/.test(entry.name)) {
        const path = `${folder}${entry.name}`;
        sources.set(path, readFileSync(new URL(path, root), "utf8"));
      }
    }
  };
  for (const entry of readdirSync(root, { withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith(".ts")) {
      sources.set(entry.name, readFileSync(new URL(entry.name, root), "utf8"));
    }
  }
  for (const folder of ["lib/", "tests/"]) read(folder);
  return sources;
}

if (import.meta.main) {
  const sources = readSources(new URL("..", import.meta.url));
  const problems = checkLayers(sources);
  for (const { file, line, text } of problems) console.log(`${file}:${line}: ${text}`);
  console.log(`${sources.size} files, ${problems.length} problems`);
  process.exit(problems.length === 0 ? 0 : 1);
}
