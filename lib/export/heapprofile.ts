import { frameLabel } from "./frames.ts";
import type { ExportSource, ExportTarget } from "./target.ts";

/** The JSON that Chrome's DevTools save and load as a heap profile by sampling (`HeapProfiler.SamplingHeapProfile`). */
export const heapprofile: ExportTarget = {
  name: "heapprofile",
  summary: "Chrome DevTools: Memory, Load profile",
  differences: false,
  binary: false,
  *write({ table }: ExportSource) {
    const { nodeParent, nodeFrame, filenames, frameFilename, frameLineno } = table;
    const children = childrenOf(table), selfSize = new Float64Array(nodeParent.length);
    table.node.forEach((node, row) => selfSize[node]! += table.size[row]!);
    const opening = (node: number) => {
      const frame = nodeFrame[node]!, file = frameFilename[frame]!, url = filenames[file]!, line = frameLineno[frame]!;
      // Lines are counted from 0 here.
      const callFrame = node === 0
        ? { functionName: "(root)", scriptId: "0", url: "", lineNumber: -1, columnNumber: -1 }
        : {
          functionName: frameLabel(basename(url), line),
          scriptId: `${file + 1}`,
          url,
          lineNumber: line - 1,
          columnNumber: -1,
        };
      return `${JSON.stringify({ callFrame, selfSize: selfSize[node], id: node + 1 }).slice(0, -1)},"children":[`;
    };
    yield `{"head":${opening(0)}`;
    // A walk with a stack of its own: tracebacks can be deeper than the engine's.
    const path = [{ node: 0, next: 0 }];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const child = children.get(top.node)?.[top.next++];
      if (child === undefined) {
        yield "]}";
        path.pop();
      } else {
        yield `${top.next > 1 ? "," : ""}\n${opening(child)}`;
        path.push({ node: child, next: 0 });
      }
    }
    yield `,"samples":[`;
    let ordinal = 0;
    for (let node = 0; node < selfSize.length; node++) {
      if (selfSize[node] === 0) continue;
      yield `${ordinal === 0 ? "" : ","}${
        JSON.stringify({ size: selfSize[node], nodeId: node + 1, ordinal: ++ordinal })
      }`;
    }
    yield "]}\n";
  },
};

/** The children of every node that has any, by node. */
function childrenOf({ nodeParent }: ExportSource["table"]): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (let node = 1; node < nodeParent.length; node++) {
    const siblings = children.get(nodeParent[node]!);
    if (siblings === undefined) children.set(nodeParent[node]!, [node]);
    else siblings.push(node);
  }
  return children;
}

function basename(filename: string): string {
  return filename.slice(filename.lastIndexOf("/") + 1) || filename;
}
