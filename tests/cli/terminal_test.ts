/** What people see in a terminal: tables as wide as it is, colours where they are wanted, and Ctrl-C. */
import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { columnsOf as columns, pad, printable, shorten } from "../../lib/cli/terminal.ts";
import { dumpSnapshot } from "../../lib/format/file.ts";
import { columnsOf } from "../format/snapshots.ts";
import { cli } from "./runtimes.ts";
import { hasTmux, Terminal } from "./terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-terminal-"));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

const source = path("server.ts");
writeFileSync(source, "const a = 1;\n  entries.set(key, new Uint8Array(1_999_993));\nserve();\nmain();\n");
const library = "/srv/some/quite/long/path/to/a/project/node_modules/@scope/package-with-a-name/distribution/index.js";
const row = { domain: 0, total: null };
const rows = [
  { ...row, size: 1_999_993, count: 7, frames: [[source, 4], [source, 3], [source, 2]] },
  { ...row, size: 65_536, count: 20, frames: [[source, 4], [library, 31], [library, 57]] },
  { ...row, size: 64, count: 20, frames: [[source, 4], [library, 31], [library, 58]] },
  { ...row, size: 4096, count: 3, frames: [["/srv/文件夹/文件.ts", 3]] },
  { ...row, size: 100, count: 1, frames: [["<native worker>", 0]] },
] as const;
dumpSnapshot(path("new"), columnsOf(rows, 25), {});
dumpSnapshot(
  path("old"),
  columnsOf(rows.map((row, i) => ({ ...row, count: row.count + [-5, 10, 0, 0, 0][i]! })), 25),
  {},
);

const hostile = "/srv/\x1b]0;owned\x07\x1b[2J\n.ts";
dumpSnapshot(path("hostile"), columnsOf([{ ...row, size: 100, count: 1, frames: [[hostile, 1]] }], 25), {});

const timeout = 600_000;
const skip = hasTmux ? false : "there is no tmux";

async function inTerminal(
  width: number,
  environment: string,
  use: (terminal: Terminal) => Promise<void>,
): Promise<void> {
  const terminal = new Terminal(width, 50, environment);
  try {
    await terminal.until(/^ready 0 0>$/);
    await use(terminal);
  } finally {
    terminal.end();
  }
}

test("tables fit into terminals of 60 to 200 columns", { skip, timeout }, async () => {
  for (const width of [60, 80, 120, 200]) {
    await inTerminal(width, "", async (terminal) => {
      const top = await terminal.run(`tracemalloc top '${path("new")}'`);
      assert(!terminal.wrapped, top);
      const lines = top.trimEnd().split("\n");
      assertEquals(lines[0], "Top 5 lines");
      assertEquals(/Average/.test(lines[1]!), width >= 80, lines[1]);
      assertMatch(lines[2]!, /^1 {2}13\.4 MiB {3}91\.4 % {7}7 .*server\.ts:2$/);
      assertMatch(lines[3]!, /^ +entries\.set\(key, new .*(?:…|\);)$/);
      assertMatch(lines.at(-1)!, /^ {3}14\.6 MiB {2}100\.0 % {6}51 .* in all$/);
      // Numbers end, and places begin, where their headings do.
      const place = lines[1]!.indexOf("Line");
      const startsAt = (line: string, text: string) => columns(line.slice(0, line.indexOf(text)));
      assertEquals(lines[1]!.indexOf("Size") + 4, lines[2]!.indexOf("13.4 MiB") + 8);
      for (const text of ["in all", "/srv/文件夹"]) {
        const line = lines.find((line) => line.includes(text))!;
        assertEquals(startsAt(line, text), place, line);
      }
      assertEquals(lines[3]!.indexOf("entries"), place + 2);
      assertStringIncludes(top, width < 200 ? "…" : `${library}:57`);

      const diff = await terminal.run(`tracemalloc diff '${path("old")}' '${path("new")}' -n 2`);
      assert(!terminal.wrapped, diff);
      assertMatch(
        diff,
        /^Top 2 changes of lines\n +Change +Size .*Line\n1 {2}\+9766 KiB {2}13\.4 MiB .*server\.ts:2\n/,
      );
      assertMatch(diff, /\n2 {3}-640 KiB {2}1280 KiB .*index\.js:57\n {8}\+0 B +13\.3 KiB .* 3 others\n/);

      const tree = await terminal.run(`tracemalloc tree '${path("new")}'`);
      assert(!terminal.wrapped, tree);
      assertMatch(tree, /^14\.6 MiB in 51 blocks\n 99\.9 % {2}14\.6 MiB {2}█+ .*server\.ts:4/);
      assertMatch(tree, /\n 91\.4 % {2}13\.4 MiB {2}[█▏▎▍▌▋▊▉]+ +├─ .*server\.ts:3.*\n.* {2}│ {2}.*server\.ts:2/);
      assertMatch(tree, /\n {2}8\.6 % {2}1281 KiB {2}.* └─ .*:31\n.* {4}├─ .*:57\n.* {4}└─ .*:58\n/);
      const byTraceback = await terminal.run(`tracemalloc top --by traceback '${path("new")}' -n 1`);
      assert(!terminal.wrapped, byTraceback);
      assertMatch(
        byTraceback,
        /server\.ts:4\n +main\(\);\n +.*server\.ts:3\n +serve\(\);\n +.*server\.ts:2\n +entries/,
      );
    });
  }
});

test(
  "colours in a terminal, and none where NO_COLOR or a dumb terminal asks for it, or in a pipe",
  { skip, timeout },
  async () => {
    const commands = [`top '${path("new")}'`, `diff '${path("old")}' '${path("new")}'`, `tree '${path("new")}'`];
    // deno-lint-ignore no-control-regex
    const colours = /\x1b\[[0-9;]*m/;
    for (
      const [environment, pipe, coloured] of [
        ["", "", true],
        ["NO_COLOR=1", "", false],
        ["NO_COLOR=", "", true],
        ["TERM=dumb", "", false],
        ["", " | cat", false],
      ] as const
    ) {
      await inTerminal(80, environment, async (terminal) => {
        for (const command of commands) {
          const shown = await terminal.run(`tracemalloc ${command}${pipe}`);
          assertEquals(colours.test(terminal.screen(true)), coloured, `${environment} ${command} ${pipe}`);
          if (pipe !== "" && !command.startsWith("tree")) {
            assertMatch(shown, /^Top 5 .*\n#1: .*server\.ts:2: size=13\.4 MiB/);
          }
        }
      });
    }
    await inTerminal(80, "", async (terminal) => {
      await terminal.run(`tracemalloc diff '${path("old")}' '${path("new")}'`);
      // Grown is red, shrunk is blue, and what ends is not left on.
      const shown = terminal.screen(true).replaceAll("\x1b", "ESC");
      assertMatch(shown, /ESC\[31m *\+9766 KiBESC\[39m/);
      assertMatch(shown, /ESC\[34m *-640 KiBESC\[39m/);
    });
  },
);

test("names cannot do anything to the terminal", { skip, timeout }, async () => {
  await inTerminal(120, "", async (terminal) => {
    for (const command of ["top", "tree"]) {
      const shown = await terminal.run(`tracemalloc ${command} '${path("hostile")}'`);
      assertStringIncludes(shown, "/srv/\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{a}.ts:1");
    }
  });
});

test("Ctrl-C ends a command at once, as it ends others", { skip, timeout }, async () => {
  await inTerminal(80, "", async (terminal) => {
    for (const command of ["top", "tree", "report", "export --to json"]) {
      // It waits for a writer that never comes.
      terminal.type(
        `clear; rm -f '${path("pipe")}'; mkfifo '${path("pipe")}'; echo begins; tracemalloc ${command} '${
          path("pipe")
        }'`,
      );
      terminal.press("Enter");
      await terminal.until(/^begins$/m);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      terminal.press("C-c");
      await terminal.until(/\nready 130 0>$/);
      assertNotMatch(terminal.screen(), /[Ee]rror/);
    }
  });
});

test("tree shows all of the text where there is no terminal", () => {
  const { code, stdout, stderr } = cli("tree", path("new"), "-n", "3");
  assertEquals([code, stderr], [0, ""]);
  const bar = (part: number) => "█".repeat(part).padEnd(20);
  assertEquals(
    stdout,
    `14.6 MiB in 51 blocks
 99.9 %  14.6 MiB  ${bar(20)}  ${source}:4  main();
 91.4 %  13.4 MiB  ${"█".repeat(18)}▎   └─ ${source}:3  serve();
 91.4 %  13.4 MiB  ${"█".repeat(18)}▎      ${source}:2  entries.set(key, new Uint8Array(1_999_993));
5 other lines with less
`,
  );
  assertEquals(cli("tree", path("new"), "-n", "-1").code, 2);
});

test("widths of texts", () => {
  assertEquals(["abc", "文件", "e\u0301", "😀", "ｱ", ""].map(columns), [3, 4, 1, 2, 1, 0]);
  assertEquals(shorten("a/b/文件.ts", 6, "start"), "…件.ts");
  assertEquals(shorten("文件.ts", 4, "end"), "文…");
  assertEquals([shorten("abc", 3, "end"), shorten("abc", 0, "end"), shorten("abc", 1, "start")], ["abc", "", "…"]);
  assertEquals([pad("文", 4, "before"), pad("文", 1, "after")], ["  文", "文"]);
  assertEquals(printable("a\x1b\x9b\u202eb\ud800文"), "a\\u{1b}\\u{9b}\\u{202e}b\\u{d800}文");
});
