/** `run --live` in a real terminal: what it shows, its keys, and that the terminal is as before in the end. */
import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Snapshot } from "../../mod.ts";
import { LiveScreen } from "../../lib/cli/live.ts";
import { snapshotFromColumns } from "../../lib/model/snapshot.ts";
import { columnsOf } from "../format/snapshots.ts";
import { cli } from "./runtimes.ts";
import { hasTmux, Terminal } from "./terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-live-"));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

const timeout = 600_000;
const skip = hasTmux ? false : "there is no tmux";

writeFileSync(
  path("grows.ts"),
  `const kept: Uint8Array[] = [];
const timer = setInterval(() => {
  kept.push(new Uint8Array(1_999_979));
  console.log("round", kept.length);
}, 200);
Deno.addSignalListener("SIGINT", () => {
  console.log("interrupted, reads " + Deno.stdin.readSync(new Uint8Array(1)));
  Deno.exit(kept.length > 0 ? 9 : 8);
});
`,
);

test("a program is watched, its snapshot taken, and interrupted", { skip, timeout }, async () => {
  const terminal = new Terminal(80, 34); // so high that all that comes at the end is seen, however long its lines are
  try {
    await terminal.until(/^ready 0 0>$/);
    terminal.type(`echo before; cd ${folder}; tracemalloc run --runtime deno --live -o out.snapshot grows.ts`);
    terminal.press("Enter");
    await terminal.until(/^grows\.ts, process \d+ {2}live\ncurrent .* peak seen .* blocks \d+\nLines by size\n/);
    await terminal.until(/^ *1 {2}.*MiB .* grows\.ts:3\n +kept\.push\(new Uint8Array/m);
    // It goes on by itself.
    const size = () => Number(/^ *1 .*?([\d.]+) MiB +\+?\d+ +\d+ {2}grows/m.exec(terminal.screen())?.[1] ?? 0);
    const first = size();
    await terminal.until(/^round \d+$/m);
    for (let i = 0; size() <= first && i < 1000; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    assert(size() > first, terminal.screen());
    assert(!terminal.wrapped);
    assertNotMatch(terminal.screen(), /before/);

    terminal.press("s");
    await terminal.until(/Lines by blocks\n[^]*s sort \(blocks\)/);
    terminal.press("s");
    await terminal.until(/Lines by change\n[^]*\n *1 .* grows\.ts:3\n/);
    terminal.press("f");
    await terminal.until(/^grows\.ts, process \d+ {2}frozen\n/);
    const frozen = size();
    terminal.press("t");
    await terminal.until(/\nThe snapshot is in out\.live-1\.snapshot\.$/);
    assertEquals(size(), frozen);
    const blocks = [...Snapshot.load(path("out.live-1.snapshot")).traces].filter(({ size }) => size === 1_999_979);
    assert(Math.abs(blocks.length * 1_999_979 / 2 ** 20 - frozen) < 1, `${blocks.length} blocks, ${frozen} MiB`);
    terminal.press("f");
    await terminal.until(/ {2}live\n/);
    terminal.press("r");
    await terminal.until(/\n *1 .* \+\d+ +\d+ {2}grows\.ts:3\n/);

    // What it wrote is there in the end, below what was there before, and the terminal shows what is typed.
    terminal.press("C-c");
    await terminal.until(/The snapshot is in out\.snapshot: [^]*\nready 9 0>$/);
    assertMatch(terminal.screen(), /(?:^|\n)interrupted, reads (?:null|0)\nTop 10 lines\n#1: .*grows\.ts:3: size=/);
    assertStringIncludes(await terminal.run("echo typed"), "typed");
    assertNotMatch(terminal.screen(), /Lines by/);
  } finally {
    terminal.end();
  }
});

test("a view that is closed leaves the program to its terminal", { skip, timeout }, async () => {
  const terminal = new Terminal(80, 400);
  try {
    await terminal.until(/^ready 0 0>$/);
    terminal.type(`cd ${folder}; tracemalloc run --runtime deno --live -o closed.snapshot grows.ts`);
    terminal.press("Enter");
    await terminal.until(/\nround \d+\ns sort/);
    terminal.press("q");
    await terminal.until(/grows\.ts\nround 1\nround 2\n[^]*\nround \d+$/);
    const rounds = () => terminal.screen().split("\nround ").length;
    for (const before = rounds(); rounds() < before + 5;) await new Promise((resolve) => setTimeout(resolve, 50));
    terminal.press("C-c");
    await terminal.until(/\nready 9 0>$/);
  } finally {
    terminal.end();
  }
});

test("without a terminal it is refused", () => {
  writeFileSync(path("nothing.ts"), "");
  const { code, stdout, stderr } = cli("run", "--live", path("nothing.ts"));
  assertEquals([code, stdout], [2, ""]);
  assertMatch(stderr, /^tracemalloc run: --live needs a terminal, for what it shows and for its keys .*\n$/);
});

test("the view fits into any window", () => {
  const row = { domain: 0, size: 1000, total: null };
  const rows = Array.from({ length: 50 }, (_, i) => ({ ...row, count: i + 1, frames: [[`file-${i}.ts`, 1]] as const }));
  const screen = new LiveScreen("program\x1b[2J.ts", () => "saved.snapshot");
  screen.press("t");
  assertStringIncludes(screen.text({ width: 80, colour: false }, 10).join("\n"), "there is no snapshot yet");
  screen.update(snapshotFromColumns(columnsOf(rows, 1)));
  screen.write("one\ntwo\x1b[2Jthr");
  screen.write("ee\nfour\n");
  for (const [width, height] of [[80, 24], [60, 50], [200, 10], [20, 5], [10, 1], [80, 100]] as const) {
    const lines = screen.text({ width, colour: false }, height);
    assert(lines.length >= Math.min(height, 6) || height < 6, `${lines.length} lines of ${height}`);
    if (height > 9) assertEquals(lines.length, height);
    if (height > 9) assertEquals(lines.at(-2)!.trimEnd(), "four".slice(0, width));
    assert(lines.every((line) => !line.includes("\x1b")));
    if (width >= 60) assert(lines.every((line) => line.length <= width), lines.join("\n"));
  }
  assertMatch(
    screen.text({ width: 80, colour: false }, 20).join("\n"),
    /\n *1 .* file-49\.ts:1\n *2 .* file-48\.ts:1\n/,
  );
  screen.press("f");
  screen.update(snapshotFromColumns(columnsOf([{ ...row, count: 1, frames: [["new.ts", 1]] }], 1)));
  assertNotMatch(screen.text({ width: 80, colour: false }, 20).join("\n"), /new\.ts/);
  screen.press("f");
  const shown = screen.text({ width: 80, colour: false }, 20).join("\n");
  assertMatch(shown, /current 1000 B {2}peak seen 1245 KiB {2}blocks 1\n/);
  assertMatch(shown, /\n *1 {2} *\+1000 B +1000 B .* new\.ts:1\n *2 .* file-\d+\.ts:1\n/);
});
