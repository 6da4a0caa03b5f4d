import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { Progress } from "../../lib/cli/progress.ts";

/** A terminal that remembers, and a clock that is set by hand. */
function fakeHost() {
  const host = {
    time: 5000,
    shown: [] as string[],
    show: (text: string) => void host.shown.push(text),
    now: () => host.time,
  };
  return host;
}

test("a bar appears after a second and changes ten times a second", () => {
  const host = fakeHost();
  const progress = new Progress(200, host);
  for (const [time, bytes] of [[5500, 10], [5999, 20], [6000, 50], [6050, 60], [6100, 100], [6200, 200]] as const) {
    host.time = time;
    progress.advance(bytes);
  }
  progress.end();
  assertEquals(host.shown, [
    `\r[${"#".repeat(7)}${" ".repeat(23)}]  25 %`,
    `\r[${"#".repeat(15)}${" ".repeat(15)}]  50 %`,
    `\r[${"#".repeat(30)}] 100 %`,
    `\r${" ".repeat(38)}\r`,
  ]);
});

test("what is over within a second, what has no size and what has no terminal shows nothing", () => {
  const host = fakeHost();
  const quick = new Progress(200, host);
  quick.advance(200);
  quick.end();
  const sizeless = new Progress(0, host);
  host.time += 10_000;
  sizeless.advance(5);
  sizeless.end();
  new Progress(200, null).advance(100);
  assertEquals(host.shown, []);
});
