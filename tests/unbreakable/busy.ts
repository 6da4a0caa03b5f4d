/** Never comes back to the event loop: allocates until it is killed, and says when it has begun. */
interface Unused {
  readonly line: 3;
}

const kept: Uint8Array[] = [];
Object.assign(globalThis, { kept });
kept.push(new Uint8Array(1_999_909)); // line 8
console.log(Deno.pid);
for (let count = 0;; count++) {
  if (count % 2_000_000 === 0 && kept.length < 500) kept.push(new Uint8Array(99_991));
}
