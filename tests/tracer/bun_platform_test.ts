/** What a program can tell of the platform is the same traced and untraced, to the byte. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { testedBuns } from "./buns.ts";
import { inFolder, root } from "./programs.ts";

const program = `${root}tests/tracer/platform/main.ts`;
const preload = `${root}lib/runtime/preload.ts`;

interface Printed {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function print(bun: string, args: readonly string[], env: Record<string, string> = {}): Printed {
  const { status, stdout, stderr } = spawnSync(bun, args, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
  return { status, stdout, stderr };
}

/** The lines that are not the same, of the first and of the second. */
function assertSame(one: Printed, other: Printed): void {
  const [first, second] = [one, other].map((
    { status, stdout, stderr },
  ) => [status, ...`${stdout}${stderr}`.split("\n")]);
  const differences = Array.from(
    { length: Math.max(first!.length, second!.length) },
    (_, i) => `${i}: ${first![i]} | ${second![i]}`,
  ).filter((_, i) => first![i] !== second![i]);
  assertEquals(differences.slice(0, 10), []);
}

/** Without the report of the command line. */
function withoutReport(printed: Printed): Printed {
  const at = printed.stderr.lastIndexOf("Top ");
  assert(at >= 0, printed.stderr);
  return { ...printed, stderr: printed.stderr.slice(0, at) };
}

for (const { name, bun } of testedBuns()) {
  const untraced = print(bun, [program]);

  test(`${name}: the program of the platform's behaviour runs to its end`, () => {
    assertEquals([untraced.status, untraced.stderr], [3, ""]);
    assert(untraced.stdout.split("\n").length > 400 && untraced.stdout.includes("\nafterwards: "), untraced.stdout);
  });

  test(`${name}: the same after a plain start()`, () => {
    assertSame(print(bun, [program, "start"]), untraced);
  });

  test(`${name}: the same with the module preloaded`, () => {
    const [without, traced] = ["0", "5"].map((nframe) =>
      print(bun, ["--preload", preload, program], { TRACEMALLOC: nframe })
    );
    assertSame(traced!, without!);
  });

  test(`${name}: the same under \`tracemalloc run\`, with tail calls and without`, () => {
    inFolder((folder) => {
      const run = (...options: string[]) =>
        withoutReport(print(bun, [`${root}cli.ts`, "run", ...options, "-o", `${folder}/snapshot`, program]));
      assertSame(run("--keep-tail-calls"), untraced);
      // Whatever is on the stack then is so untraced, too.
      assertSame(run("-n", "25"), print(bun, [program], { BUN_JSC_useTailCalls: "0" }));
    });
  });
}
