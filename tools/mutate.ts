/**
 * Changes lib/model in one place at a time (a comparison, a sign, a number, a rounding, a statement left out) and runs
 * its tests: every change must make one of them fail. Prints the changes that none noticed.
 *
 *   deno run -A tools/mutate.ts [part of a file name]…
 *
 * Works on a copy, so that the tree may be worked in meanwhile.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { root, runtimes } from "./runtimes.mjs";
import { scan } from "./scan.ts";

const folder = "lib/model/";

/** The tests that must notice a change of a file, the quickest first. */
const tests = {
  "fold_rows.ts": ["tests/model/fold_rows_test.ts", "tests/format/roundtrip_test.ts"],
  "source_lines.ts": ["tests/host/host_test.ts", "tests/conformance/conformance_test.ts"],
  "snapshot.ts": ["tests/model/snapshot_test.ts", "tests/host/host_test.ts", "tests/conformance/conformance_test.ts"],
  others: [
    "tests/model/values_test.ts",
    "tests/model/fnmatch_test.ts",
    "tests/model/snapshot_test.ts",
    "tests/conformance/conformance_test.ts",
    "tests/laws/laws_test.ts",
  ],
};

/** What is changed into what, outside of comments, strings and regular expressions. */
const changes: readonly (readonly [RegExp, string])[] = [
  // Not in the bounds of loops: what is beyond the end of a typed array reads as undefined and is not written to.
  [/(?<!; \w+) < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ < /g, " > "],
  [/ > /g, " < "],
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \?\? /g, " && "],
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " / "],
  [/ \/ /g, " * "],
  [/ % /g, " * "],
  [/ \+= /g, " -= "],
  [/ -= /g, " += "],
  [/ \/= /g, " *= "],
  [/\+\+/g, "--"],
  [/--/g, "++"],
  [/(?<=[( ])!(?=[\w(#])/g, ""],
  [/(?<=[( ])-(?=[\w(#])/g, ""],
  [/\btrue\b(?! =)/g, "false"],
  [/\bfalse\b(?! =)/g, "true"],
  [/(?<![\w.#$])0(?![\w.])/g, "1"],
  [/(?<![\w.#$])1(?![\w.])/g, "0"],
  [/(?<![\w.#$])[2-9]\d*(?![\w.])/g, "(1 + $&)"],
  [/\bMath\.min\(/g, "Math.max("],
  [/\bMath\.max\(/g, "Math.min("],
  [/\bMath\.(?:floor|trunc|round)\(/g, "Math.ceil("],
  [/(?<!function )\babs\(/g, "("],
  [/\breturn (?=[^;{]+;)/g, "return void "],
  // A whole statement on a line of its own.
  [/(?<=\n *)(?:this\.)?[#\w.]+\([^\n]*\);(?=\n)/g, ";"],
  [/(?<=\n *)[#\w.[\]!]+ (?:[-+]?=) [^\n]*;(?=\n)/g, ";"],
  [/\bcontinue;/g, ";"],
  [/\bbreak;/g, ";"],
];

const wanted = process.argv.slice(2);
const copy = mkdtempSync(join(tmpdir(), "tracemalloc-mutate-"));
try {
  for (const path of ["lib", "tests", "vendor", "mod.ts", "cli.ts", "package.json", "tsconfig.json", "bunfig.toml"]) {
    cpSync(root + path, join(copy, path), { recursive: true });
  }
  symlinkSync(`${root}node_modules`, join(copy, "node_modules"));
  let killed = 0;
  const survivors: string[] = [];
  for (const name of readdirSync(root + folder).sort()) {
    if (wanted.length > 0 && !wanted.some((part) => name.includes(part))) continue;
    if (!testsPass(name)) throw new Error(`the tests of ${name} fail without any change`);
    const path = join(copy, folder, name);
    const source = readFileSync(path, "utf8");
    for (const { mutant, at, text } of mutants(source)) {
      writeFileSync(path, mutant);
      if (testsPass(name)) {
        const line = source.slice(0, at).split("\n").length;
        survivors.push(`${folder}${name}:${line}: ${source.split("\n")[line - 1]!.trim()}   ->   ${text}`);
        console.log(survivors.at(-1));
      } else killed++;
    }
    writeFileSync(path, source);
    console.log(`${folder}${name}: ${killed} of ${killed + survivors.length} changes noticed so far`);
  }
} finally {
  rmSync(copy, { recursive: true });
}

function* mutants(source: string): Generator<{ mutant: string; at: number; text: string }> {
  const { code } = scan(source);
  const seen = new Set<string>();
  for (const [pattern, replacement] of changes) {
    for (const match of code.matchAll(pattern)) {
      const end = match.index + match[0].length;
      const text = replacement.replace("$&", match[0]);
      const mutant = source.slice(0, match.index) + text + source.slice(end);
      if (seen.has(mutant)) continue;
      seen.add(mutant);
      yield { mutant, at: match.index, text: text.trim() };
    }
  }
}

function testsPass(name: string): boolean {
  return ((tests as Record<string, string[]>)[name] ?? tests.others).every((test) => {
    const { status } = spawnSync(runtimes.bun, ["test", "--bail", "--timeout=60000", `./${test}`], {
      cwd: copy,
      env: { ...process.env, TRACEMALLOC_SEED: "1", TRACEMALLOC_CASES: "300" },
      stdio: "ignore",
      timeout: 30_000,
      killSignal: "SIGKILL",
    });
    return status === 0;
  });
}
