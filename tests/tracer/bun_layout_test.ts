/** A layout of JavaScriptCore in which any offset is wrong is refused. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { runtimes } from "../../tools/runtimes.mjs";
import { root } from "./programs.ts";

/** A shim that moves one field, the one with the number in the environment, right after it was found. */
function buildPerturbed(): string {
  const folder = `${root}.build/tests/`, shim = `${folder}libperturbed.${process.pid}.so`;
  mkdirSync(folder, { recursive: true });
  const sources = readdirSync(`${root}shim`).filter((name) => name.endsWith(".c")).map((name) => `${root}shim/${name}`);
  const flags = "-DTM_JSC_PERTURB -std=c11 -D_GNU_SOURCE -O2 -fPIC -shared -fvisibility=hidden -fno-omit-frame-pointer";
  const { status, stderr } = spawnSync(process.env["CC"] || "cc", [...flags.split(" "), "-o", shim, ...sources], {
    encoding: "utf8",
  });
  assertEquals(status, 0, stderr);
  return shim;
}

/** What Bun says of the layout: its fields in their order, and why it is refused. */
function calibrate(
  shim: string,
  perturbed: number | undefined,
): { fields: [string, number][]; refusal: string | undefined } {
  const program = `
    import { detectBackend } from ${JSON.stringify(`${root}lib/runtime/detect.ts`)};
    const backend = detectBackend();
    const { calibration, refusal } = backend.openEngine(backend.openShim(${JSON.stringify(shim)}));
    const fields = [...calibration].filter(([name]) => !name.startsWith("mimalloc"))
      .map(([name, value]) => [name, Number(value)]);
    console.log(JSON.stringify({ fields, refusal }));
    process.exit(0);`;
  const { status, signal, stdout, stderr } = spawnSync(runtimes.bun, ["-e", program], {
    encoding: "utf8",
    env: { ...process.env, ...(perturbed !== undefined && { TM_JSC_PERTURB: String(perturbed) }) },
  });
  assertEquals([status, signal], [0, null], stderr);
  return JSON.parse(stdout);
}

test("each offset that is wrong is noticed, and the layout refused", () => {
  const shim = buildPerturbed();
  const { fields, refusal } = calibrate(shim, undefined);
  assertEquals(refusal, undefined);
  assert(fields.length >= 21, String(fields));
  fields.forEach(([field, value], i) => {
    // Other counters than the first are found only now and then, by chance, and only add to it: one that counted once more
    // than that can be as well 8 further on.
    if (/^vm_epoch[1-9]/.test(field)) return;
    const moved = calibrate(shim, i);
    // A counter that does not count is left out where there is another.
    const leftOut = field === "vm_epoch0" &&
      moved.fields.every(([name, at]) => !/^vm_epoch/.test(name) || at !== value + 8);
    assert(moved.refusal ?? leftOut, `${field} is 8 off, and nobody noticed`);
  });
});
