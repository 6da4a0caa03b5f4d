// Two to the power of 20 ways to one line: as many tracebacks. A few blocks are kept, whose size says which way.
const kept = globalThis.kept = [];
function step(level, way) {
  if (level === 20) return leaf(way);
  step(level + 1, way * 2); // line 5: 0
  step(level + 1, way * 2 + 1); // line 6: 1
}
function leaf(way) {
  const block = new ArrayBuffer(way % 99_991 === 0 ? 1_000_001 + way : 8);
  if (block.byteLength > 8) kept.push(block);
}
step(0, 0);
console.log(kept.length);
