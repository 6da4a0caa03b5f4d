import process from "node:process";
import { runtimes } from "../../tools/runtimes.mjs";

/** The Node that traced programs run on: the pinned one, or the one at the path in `$TRACED_NODE` (tools/other_nodes.mjs). */
export const node: string = process.env["TRACED_NODE"] || runtimes.node;
