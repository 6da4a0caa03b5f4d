/** Says what it was given, and ends in the way that its first argument names. */
import { createHash } from "node:crypto";
import process from "node:process";
import { keep } from "./keep.ts";

const [way, ...rest] = process.argv.slice(2);
keep(new Uint8Array(29_001)); // mark 29001

const input = createHash("sha256");
for await (const chunk of process.stdin) input.update(chunk);
console.log("arguments", JSON.stringify(rest), "input", input.digest("hex"));
console.error("environment", process.env["LD_PRELOAD"], process.env["GIVEN"]);
process.stderr.write("no end of the line");

function fail(): never {
  keep(new Uint8Array(29_003));
  throw new RangeError("nobody catches this");
}

setTimeout(() => console.log("still running"), 20);
addEventListener("unload", () => console.log("unload"));
process.on("exit", (code) => console.log("exit", code));

const ways: Record<string, () => unknown> = {
  "return": () => {},
  "Deno.exit": () => Deno.exit(7),
  "process.exit": () => process.exit(8),
  "process.exit in a timer": () => setTimeout(() => process.exit(9), 1),
  "exit code": () => process.exitCode = 10,
  "exception": fail,
  "exception in a timer": () => setTimeout(fail, 1),
  "rejection": () => {
    Promise.reject(new Error("nobody handles this"));
  },
  "exception handled": () => {
    addEventListener("error", (event) => {
      event.preventDefault();
      console.log("handled", event.error.name);
    });
    setTimeout(fail, 1);
  },
  "rejection handled": () => {
    addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      console.log("handled", event.reason.message);
    });
    Promise.reject(new Error("somebody handles this"));
  },
  "signal": () => process.kill(process.pid, "SIGTERM"),
};
ways[way ?? "return"]!();
