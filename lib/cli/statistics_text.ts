import type { KeyType } from "../model/key_type.ts";
import type { Traceback } from "../model/traceback.ts";

/** A statistic or a difference of two. */
interface Group {
  readonly traceback: Traceback;
  toString(): string;
}

/** What groups are called in a heading. */
export function groupName(keyType: KeyType): string {
  return { lineno: "lines", filename: "files", traceback: "tracebacks" }[keyType];
}

/** The lines that show one group: rank, place, numbers, and source lines where the files can be read. */
export function groupLines(rank: number, group: Group, keyType: KeyType): string[] {
  const { traceback } = group;
  const text = group.toString();
  if (keyType !== "traceback") return [`#${rank}: ${text}`, ...sourceLines(traceback, keyType)];
  // All frames follow below: the place before the numbers would say one of them twice.
  return [`#${rank}: ${text.slice(`${traceback}: `.length)}`, ...traceback.format()];
}

function sourceLines(traceback: Traceback, keyType: KeyType): string[] {
  if (keyType !== "lineno") return [];
  // The first line says file and line, which are shown already.
  return traceback.format().slice(1);
}

/** A traceback for JSON: its frames from the oldest to the most recent. */
export function tracebackJson(traceback: Traceback): { filename: string; lineno: number }[] {
  return [...traceback].map(({ filename, lineno }) => ({ filename, lineno }));
}
