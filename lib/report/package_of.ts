/** What a file belongs to, so that a report can show one colour for it. */
export function packageOf(filename: string): string {
  const installed = [...filename.matchAll(/(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)/g)].at(-1)?.[1];
  if (installed !== undefined) return installed;
  // Deno's cache: …/npm/REGISTRY/NAME/VERSION/…
  const cached = /\/npm\/[^/]+\/((?:@[^/]+\/)?[^/]+)\/\d+\.\d+\.\d+[^/]*\//.exec(filename)?.[1];
  if (cached !== undefined) return cached;
  if (/^(?:npm|jsr):/.test(filename)) return /^\w+:\/?(@[^/]+\/[^/@]+|[^/@]+)/.exec(filename)?.[1] ?? filename;
  if (/^https?:/.test(filename)) return URL.canParse(filename) ? new URL(filename).host : filename;
  // The runtime's own modules: ext:deno_node/zlib.js, node:fs.
  if (/^(?:ext|node|bun|internal|checkin):/.test(filename)) return /^[^/]+/.exec(filename)![0];
  if (filename.startsWith("<native ")) return "threads without JavaScript";
  if (/^<.*>$/.test(filename)) return filename;
  // Native code: library!symbol, library+0xoffset.
  return /^([^/\\]+?)(?:!|\+0x[0-9a-f]+$)/.exec(filename)?.[1] ?? "the program";
}
