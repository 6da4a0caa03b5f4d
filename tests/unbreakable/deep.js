// Kept at the bottom of a recursion that is as deep as its argument says.
function down(depth) {
  if (depth > 0) return down(depth - 1) + 1;
  globalThis.kept = new Uint8Array(1_999_923); // line 4
  return 0;
}
console.log(down(Number(Deno.args[0])));
