/** Never comes back to the event loop: allocates until it is killed, and says when it has begun. */
import process from "node:process";

interface Unused {
  readonly line: 5;
}

const kept: Uint8Array[] = [];
Object.assign(globalThis, { kept });
kept.push(new Uint8Array(1_999_909)); // line 10
// On Bun lines are known from the next turn of the event loop on: it has one, and no other.
if ("Bun" in globalThis) await new Promise((resolve) => setTimeout(resolve, 200));
console.log(process.pid);
for (let count = 0;; count++) {
  if (count % 2_000_000 === 0 && kept.length < 500) kept.push(new Uint8Array(99_991));
}
