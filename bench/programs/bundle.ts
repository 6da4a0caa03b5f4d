/** Bundles and minifies this library with esbuild, which is WebAssembly. */
import { build, initialize, stop } from "esbuild-wasm/esm/browser.js";
import { readFileSync } from "node:fs";

await initialize({
  wasmModule: new WebAssembly.Module(
    readFileSync(new URL("../../node_modules/esbuild-wasm/esbuild.wasm", import.meta.url)),
  ),
  worker: false,
});
const root = new URL("../../mod.ts", import.meta.url);
let bytes = 0;
for (let round = 0; round < 3; round++) {
  const { outputFiles } = await build({
    entryPoints: [root.href],
    bundle: true,
    minify: round % 2 === 1,
    sourcemap: "inline",
    format: "esm",
    write: false,
    external: ["node:*", "flatbuffers", "@std/path"],
    plugins: [{
      name: "files",
      setup(build) {
        build.onResolve({ filter: /^(?:file:|\.)/ }, ({ path, importer }) => ({
          path: new URL(path, importer || root).href,
          namespace: "files",
        }));
        build.onLoad({ filter: /./, namespace: "files" }, async ({ path }) => ({
          contents: await Deno.readTextFile(new URL(path)),
          loader: "ts",
        }));
      },
    }],
  });
  bytes += outputFiles[0]!.contents.length;
}
await stop();
console.log("bundled", bytes > 0);
