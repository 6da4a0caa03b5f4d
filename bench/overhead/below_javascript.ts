/**
 * The loops of pairs.c, called by a function of JavaScript at some depth: below_javascript.ts LIBRARY churn|kept DEPTH
 * PAIRS LIVE. Prints ns a pair. Every call of malloc comes from the same line, so this is what the walk costs at its best.
 */
const [library = "", task, depth = "0", pairs = "0", live = "0"] = Deno.args;
const { symbols } = Deno.dlopen(library, {
  pairs_churn: { parameters: ["i32"], result: "f64" },
  pairs_kept: { parameters: ["i32", "i32"], result: "f64" },
});

function run(pairs: number): number {
  return task === "kept" ? symbols.pairs_kept(pairs, Number(live)) : symbols.pairs_churn(pairs);
}

function atDepth(depth: number, pairs: number): number {
  return depth > 1 ? atDepth(depth - 1, pairs) : run(pairs);
}

atDepth(Number(depth), 1000);
console.log(atDepth(Number(depth), Number(pairs)));
