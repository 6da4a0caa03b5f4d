/// <reference lib="dom" />
import { make } from "./elements.ts";
import type { Model } from "./model.ts";

/** How many lines are shown before and after the one that is meant. */
const around = 2;

/** The source line of a frame without the space before it; empty where it is not there. */
export function lineOf({ data }: Model, frame: number): string {
  return (data.sources[data.frameFilename[frame]!]?.[data.frameLineno[frame]!] ?? "").trim();
}

/** The lines around a frame; `null` where there are none. */
export function excerptOf({ data }: Model, frame: number): HTMLElement | null {
  const lines = data.sources[data.frameFilename[frame]!], lineno = data.frameLineno[frame]!;
  if (lines?.[lineno] === undefined) return null;
  const shown: [number, string][] = [];
  for (let i = lineno - around; i <= lineno + around; i++) if (lines[i] !== undefined) shown.push([i, lines[i]!]);
  const indent = Math.min(
    ...shown.filter(([, text]) => text.trim() !== "").map(([, text]) => /^\s*/.exec(text)![0].length),
  );
  return make(
    "pre",
    { class: "excerpt" },
    ...shown.map(([i, text]) =>
      make(
        "span",
        i === lineno ? { class: "line meant" } : { class: "line" },
        make("span", { class: "lineno" }, `${i}`),
        text.slice(Number.isFinite(indent) ? indent : 0),
      )
    ),
  );
}
