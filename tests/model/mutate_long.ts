import { assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("every change of the model makes a test fail, or stands in SURVIVORS.md", () => {
  const tool = fileURLToPath(new URL("../../tools/mutate.ts", import.meta.url));
  const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const { status } = spawnSync(process.execPath, [...before, tool], { stdio: "inherit" });
  assertEquals(status, 0);
});
