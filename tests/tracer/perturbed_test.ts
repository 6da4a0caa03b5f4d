/**
 * Calibration that finds a value of V8's layout wrong has to notice: V8 is refused, or a tier, or every frame is right all
 * the same. Every value is taken in turn, by a shim that is built for this. Half of the mistakes are made under each of the
 * runtimes that run the tests; `PERTURB=all` makes all of them, and more (some minutes).
 */
import { assert, assertEquals } from "@std/assert";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { deno } from "./deno.ts";

const program = fileURLToPath(new URL("perturbed.mjs", import.meta.url));
const layout = readFileSync(new URL("../../shim/v8.h", import.meta.url), "utf8");
const values = [...layout.matchAll(/^ {4}FIELD\((\w+)\)/gm)].map(([, name]) => name!);

/** What no search can take for an offset in bytes. */
const numbers = /^(offset_bias|positions_shift|type_|kind_|deopt_|bytecode_kinds|translation_|frame_pointers)/;

const all = process.env["PERTURB"] === "all";

function mistakes(value: string): number[] {
  const [by, ...more] = numbers.test(value) ? [1, 8, 2] : [8, 4, 16];
  return all ? [by!, ...more].flatMap((by) => [by, -by]) : ["Bun" in globalThis ? by! : -by!];
}

interface Outcome {
  readonly refusal?: string;
  readonly levels: readonly string[];
  readonly places: Readonly<Record<string, number>>;
  readonly checks: number;
  readonly wrong: number;
  readonly examples: readonly string[];
}

async function perturbed(value: string, by: number, shim: string): Promise<Outcome> {
  const child = spawn(deno, ["run", "-A", "--no-check", "--v8-flags=--detailed-line-info", program, shim], {
    env: { ...process.env, TM_PERTURB: `${value} ${by}`, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "", errors = "";
  child.stdout.on("data", (chunk) => output += chunk);
  child.stderr.on("data", (chunk) => errors += chunk);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on("close", (...ended) => resolve(ended))
  );
  assertEquals([code, signal], [0, null], `${value} by ${by}: ${errors}`);
  return Object.assign({}, ...output.trim().split("\n").map((line) => JSON.parse(line)));
}

const ownLine = 1 +
  readFileSync(program, "utf8").split("\n").findIndex((line) => line.includes("new Uint8Array(size)"));

/** Where blocks may be said to come from: from where they do, or from nowhere. */
const allowed = new RegExp(`(perturbed\\.mjs:(${ownLine}|0)|<unknown>:0)$`);

for (const value of values) {
  test(`V8's ${value} found wrong: refused, or harmless`, async () => {
    const shim = ensureShim(undefined, ["-DTM_TEST_PERTURB"]);
    for (const by of mistakes(value)) {
      const { refusal, levels, places, checks, wrong, examples } = await perturbed(value, by, shim);
      if (refusal !== undefined) continue;
      const accepted = `${value} by ${by}, accepted with ${levels.join(" ")}`;
      assertEquals(wrong, 0, `${accepted}: ${examples.join("; ")}`);
      assert(checks > 1000, accepted);
      assertEquals(Object.keys(places).filter((place) => !allowed.test(place)), [], accepted);
    }
  });
}

test("the layout has values, and the same shim finds them all right when it is not told otherwise", async () => {
  assert(values.length > 40, `${values.length} values`);
  const { refusal, levels, wrong } = await perturbed("nothing", 0, ensureShim(undefined, ["-DTM_TEST_PERTURB"]));
  assertEquals({ refusal, wrong }, { refusal: undefined, wrong: 0 });
  assertEquals(
    levels.filter((level) => level !== "fast-call"),
    ["frames", "anchors", "reentry", "baseline", "maglev", "turbofan", "inlining"],
  );
});
