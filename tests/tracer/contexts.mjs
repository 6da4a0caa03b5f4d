/** Allocates in all contexts that code can run in; what is expected of each size is in contexts_test.ts. */
import vm from "node:vm";

const kept = globalThis.kept = [];
globalThis.keep = (block) => kept.push(block);

function direct(_size) {
  return eval("\n  keep(new Uint8Array(_size))"); // 60001
}
direct(60_001);
new Function("size", "keep(new Uint8Array(size));")(60_003); // 60003
(0, eval)("globalThis.nested = (size) => eval('keep(new Uint8Array(size))')"); // nested
nested(60_005); // 60005
(0, eval)("keep(new Uint8Array(60_007));\n//# sourceURL=file:///made/up.js"); // 60007

const script = "\n\nkeep(new Uint8Array(SIZE));";
vm.runInThisContext(script.replace("SIZE", "60_009"), { filename: "this.js", lineOffset: 100 }); // 60009
vm.runInNewContext(script.replace("SIZE", "60_011"), { keep, Uint8Array }, { filename: "new.js" }); // 60011
const context = vm.createContext({ keep, Uint8Array });
new vm.Script("function later(size) {\n  keep(new Uint8Array(size));\n}", { filename: "made.js" }).runInContext(
  context,
);
vm.runInContext("later(60_013)", context, { filename: "called.js" }); // 60013

const code = "export function make(size) {\n  keep(new Uint8Array(size));\n}\nmake(SIZE);";
const blob = URL.createObjectURL(new Blob([code.replace("SIZE", "60_015")], { type: "text/javascript" }));
globalThis.blob = blob;
(await import(blob)).make(60_017); // 60017
const data = `data:text/javascript,${encodeURIComponent(code.replace("SIZE", "60_019"))}`;
(await import(data)).make(60_021); // 60021

/* (module (import "a" "b" (func (param i32) (result i32))) (func (export "c") (param i32) (result i32) call "b" of it) */
const bytes = new Uint8Array([
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 2, 7, 1, 1, 97, 1, 98, 0, 0, 3, 2, 1, 0],
  ...[7, 5, 1, 1, 99, 0, 1, 10, 8, 1, 6, 0, 32, 0, 16, 0, 11],
]);
const inner = (size) => keep(new Uint8Array(size)); // inner
const imports = { a: { b: (size) => size > 60_050 ? inner(size) : outward(size + 100) } }; // import
const outward = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports).exports.c;
function intoWebAssembly(size) {
  return outward(size); // wasm
}
for (let i = 0; i < 3; i++) intoWebAssembly(60_023);

async function* steps(size) {
  await 0;
  keep(new Uint8Array(size)); // 60025
  yield size + 2;
}
for await (const size of steps(60_025)) keep(new Uint8Array(size)); // 60027

/* A hundred thousand functions that are thrown away, and one in between that is kept. */
for (let i = 0; i < 100_000; i++) {
  const made = new Function("size", `/* ${i} */ return new Uint8Array(size + ${i % 7});`); // bodies
  const block = made(i % 1000 === 0 ? 60_201 : 1);
  if (i % 1000 === 0) keep(block);
}

/* Workers that come and go: their blocks are gone with them. */
const worker = URL.createObjectURL(
  new Blob([`const kept = [];
onmessage = ({ data }) => {
  for (let i = 0; i < 50; i++) kept.push(new Uint8Array(data));
  postMessage(0);
};`], { type: "text/javascript" }),
);
for (let i = 0; i < 8; i++) {
  const one = new Worker(worker, { type: "module" });
  one.postMessage(i < 6 ? 60_029 : 60_031);
  await new Promise((done) => one.onmessage = done);
  if (i < 6) one.terminate();
}
globalThis.worker = worker;

/* And many whose blocks stay: the code of one lies where that of another lay, or nearly so. */
const passing = URL.createObjectURL(
  new Blob([`onmessage = ({ data }) => {
  const blocks = [new Uint8Array(data).buffer];
  postMessage(blocks, blocks);
};`], { type: "text/javascript" }),
);
globalThis.passing = passing;
for (let i = 0; i < 60; i++) {
  const one = new Worker(passing, { type: "module" });
  one.postMessage(60_033);
  await new Promise((done) => one.onmessage = ({ data }) => done(keep(data)));
  one.terminate();
}
await new Promise((done) => setTimeout(done, 300));
console.log(JSON.stringify({ blob, data, worker, passing }));
Deno.exit();
