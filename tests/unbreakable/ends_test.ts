/** However a program ends, it ends as it does untraced, and there is a snapshot. */
import { assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, statSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { compile, deno, makeFolder, ownersOf, run } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const library = compile("ends.c", folder.path("libends.so"), "-shared", "-fPIC");
const program = new URL("ends.ts", import.meta.url).pathname;

const ways = ["return", "Deno.exit deep in a callback", "exception", "rejection", "a failed allocation"].concat(
  ["the heap's limit", "exit", "_exit", "abort", "raise", "a trap", "a fault", "a full stack"],
  ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGALRM"],
);

for (const way of ways) {
  test(`a program that ends by ${way} ends as it does untraced, and leaves its snapshot`, () => {
    const env = { DENO_V8_FLAGS: "--max-old-space-size=40" };
    const untraced = spawnSync(deno, ["run", "-A", program, way, library], {
      encoding: "utf8",
      env: { ...process.env, ...env },
    });
    const output = folder.path(`${way}.snapshot`);
    const temporary = mkdtempSync(folder.path("tmp-"));
    const traced = run(["-o", output, program, way, library], { env: { ...env, TMPDIR: temporary } });
    assertEquals([traced.status, traced.signal], [untraced.status, untraced.signal], traced.stderr);
    assertEquals(traced.stdout, untraced.stdout);
    assertEquals(ownersOf(1_999_907, output), [`${program}:13`]);
    assertEquals(statSync(output).mode & 0o777, 0o600);
    assertEquals(readdirSync(temporary), []);
  });
}
