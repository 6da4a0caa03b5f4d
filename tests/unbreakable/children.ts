/** Starts children in the ways that there are, or is one; says what their environment has of the tracer. */
import { fork, spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

interface Unused {
  readonly line: 7;
}

const own = fileURLToPath(import.meta.url);
const [part = "parent"] = process.argv.slice(2);
const variables = () => Object.keys(process.env).filter((name) => /^(?:TRACEMALLOC|LD_PRELOAD)/.test(name));

if (part === "parent") {
  Object.assign(globalThis, { kept: new Uint8Array(1_999_911) }); // line 15
  const options = { encoding: "utf8" } as const;
  console.log("parent", variables().length);
  const flags = "Bun" in globalThis ? [] : ["run", "-A"];
  console.log(spawnSync(process.execPath, [...flags, own, "child"], options).stdout.trim());
  console.log(spawnSync("sh", ["-c", "env | grep -cE '^(TRACEMALLOC|LD_PRELOAD)'; exit 3"], options).stdout.trim());
  const forked = fork(own, ["child"]);
  console.log(await new Promise((resolve) => forked.on("message", resolve)));
  await new Promise((resolve) => forked.on("exit", resolve));
} else {
  Object.assign(globalThis, { kept: new Uint8Array(1_999_913) }); // line 25
  const text = `${part} ${variables().length}`;
  if (process.send) process.send(text, undefined, undefined, () => process.disconnect?.());
  else console.log(text);
}
