/**
 * Names the frames of a transfer that the traced process could not name any more: standard input is the transfer, standard
 * output becomes their names as JSON. Loaded before the program that was traced, with the same configuration, for the
 * runtime to have its modules and their source maps; nothing of the program is run.
 *
 * It and all it imports use no package: names of packages mean what the program's own configuration says.
 */
import { readFileSync, statSync, writeSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ScriptFlag } from "../tracer/abi.ts";
import { Namer } from "../tracer/naming.ts";
import { readTransfer } from "../tracer/traced_image.ts";
import { originalPositions as nodePositions } from "./node_source_maps.ts";
import { originalPositions } from "./v8.ts";

const { image, metadata } = readTransfer(new Uint8Array(readFileSync(0)));
const urls = [...new Set(Array.from(image.scriptUrl, (url) => image.strings[url]!))];

const onNode = !("Deno" in globalThis);
// Node's source maps are found without.
if (!onNode) { for (const url of urls.filter((url) => /^(?:file|https?|data|blob):/.test(url))) await load(url); }

// All modules are this thread's here.
const scriptFlags = image.scriptFlags.map((flags) => flags & ~ScriptFlag.foreign);
const startedAt = metadata.createdAt ?? Infinity;
const changed = new Set(urls.filter(isChanged));
const names = new Namer((url, positions, foreign, text) => {
  if (changed.has(url)) return positions.map(() => ({ url, line: 0 }));
  return onNode ? nodePositions(url, positions, foreign ?? text, text) : originalPositions(url, positions);
}).name({ ...image, scriptFlags });

const bytes = new TextEncoder().encode(JSON.stringify(names));
for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
process.exit(0);

/** Has the runtime load a module, and all that it imports, without running any of it. */
async function load(url: string): Promise<void> {
  const stop = "data:text/javascript,throw null";
  const text = `import ${JSON.stringify(stop)}; import ${JSON.stringify(url)};`;
  try {
    await import(`data:text/javascript,${encodeURIComponent(text)}`);
  } catch {
    // It is what the first import is for. What cannot be loaded was no module, or is gone: its lines are as compiled.
  }
}

/** Has a file changed since the program began? Then its lines are no longer those that ran. */
function isChanged(url: string): boolean {
  if (!url.startsWith("file:") && !url.startsWith("/")) return false;
  const stats = statSync(url.startsWith("/") ? url : fileURLToPath(url), { throwIfNoEntry: false });
  return stats === undefined || stats.mtimeMs > startedAt;
}
