/** However a program ends, it ends as it does untraced, and there is a snapshot. */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, statSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { compile, makeFolder, ownersOf, run, runtime, runtimeFlags } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const library = compile("ends.c", folder.path("libends.so"), "-shared", "-fPIC");
const program = new URL("ends.ts", import.meta.url).pathname;

const ways = ["return", "process.exit deep in a callback", "exception", "rejection", "a failed allocation"].concat(
  ["the heap's limit", "exit", "_exit", "abort", "raise", "a trap", "a fault", "a full stack"],
  ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGALRM"],
);

/** Of Bun: ways that it does not have. */
const notOnBun: Readonly<Record<string, string>> = {
  "the heap's limit": "JavaScriptCore has none that a test could reach",
  "a full stack": "Bun gives its handlers no other stack, so that none of them runs, nor ours",
};

for (const way of ways) {
  const skip = "Bun" in globalThis && notOnBun[way];
  test(`a program that ends by ${way} ends as it does untraced, and leaves its snapshot`, skip ? { skip } : {}, () => {
    const env = { DENO_V8_FLAGS: "--max-old-space-size=40" };
    const untraced = spawnSync(runtime, [...runtimeFlags, program, way, library], {
      encoding: "utf8",
      env: { ...process.env, ...env },
    });
    const output = folder.path(`${way}.snapshot`);
    const temporary = mkdtempSync(folder.path("tmp-"));
    const traced = run(["-o", output, program, way, library], { env: { ...env, TMPDIR: temporary } });
    const end = ({ status, signal }: typeof traced) => [status, signal];
    // Bun's own end is up to what it still finds room for.
    if ("Bun" in globalThis && way === "a failed allocation") assert(traced.status !== 0, traced.stdout);
    else assertEquals(end(traced), end(untraced), traced.stderr);
    assertEquals(traced.stdout, untraced.stdout);
    // Bun's frames are named in memory that there is none for.
    const owner = "Bun" in globalThis && way === "a failed allocation" ? "<unknown>:0" : `${program}:13`;
    assertEquals(ownersOf(1_999_907, output), [owner]);
    assertEquals(statSync(output).mode & 0o777, 0o600);
    assertEquals(readdirSync(temporary), []);
  });
}
