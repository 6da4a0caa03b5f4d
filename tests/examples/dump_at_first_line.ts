/** Preloaded before an example: writes a snapshot to $SNAPSHOT when the example is about to print its first line. */
import process from "node:process";
import { takeSnapshot } from "../../mod.ts";

const { log } = console;
console.log = (...values: unknown[]) => {
  console.log = log;
  takeSnapshot().dump(process.env["SNAPSHOT"]!);
  log(...values);
};
