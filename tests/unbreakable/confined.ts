/**
 * Traces itself, having first unmounted /proc where its first argument says so; prints whose a block is. It runs in a mount
 * namespace of its own.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { start, takeSnapshot } from "../../mod.ts";

interface Unused {
  readonly line: 11;
}

if (process.argv[2] === "unmount") {
  if (spawnSync("umount", ["-l", "/proc"]).status !== 0 || existsSync("/proc/self")) {
    throw new Error("/proc is still there");
  }
}
start();
Object.assign(globalThis, { kept: new Uint8Array(1_999_943) }); // the line that is looked for
const owners = [...takeSnapshot().traces].filter(({ size }) => size === 1_999_943);
console.log(owners.map(({ traceback }) => String(traceback)).join("\n"));
