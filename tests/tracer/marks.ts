/**
 * The marks in programs: comments that say what memory their line owns when the program has ended.
 *
 *   // mark 20001 x3 interpreter turbofan
 *
 * Exactly three blocks of exactly 20,001 bytes, and none of that size anywhere else; frames of the line were seen in these
 * tiers of the engine. The size recorded is the one that was asked for: nothing is rounded. Sizes are odd and unique, so
 * that no other block has one of them by chance.
 *
 *   // mark 21001 x3 bun:8
 *
 * On Bun line 8 owns them, or no line does (0): where Bun's transpiler moves what stands there (initialisers of fields go into
 * constructors, and the engine's own stack traces say so), or where it has no such event.
 *
 *   // owns 77000
 *
 * At least so many bytes in all, where the sizes of the blocks are the business of a library.
 */
import { Tier } from "../../lib/tracer/abi.ts";

/** A comment, read. */
export interface Mark {
  readonly file: string;
  readonly line: number;
  readonly kind: "mark" | "owns";
  /** Bytes of one block, or of all. */
  readonly size: number;
  readonly blocks: number;
  readonly tiers: readonly TierName[];
  /** The line on Bun; 0: none. */
  readonly bunLine: number;
}

/** A name of `Tier`. */
export type TierName = keyof typeof Tier;

/** The marks of a file. Throws for a comment that begins as a mark and is none. */
export function readMarks(file: string, text: string): Mark[] {
  return text.split("\n").flatMap((line, i): Mark[] => {
    const comment = /\/[/*] ((?:mark|owns) .*?)(?: \*\/.*)?$/.exec(line)?.[1];
    if (comment === undefined) return [];
    const [, kind, size, blocks = "1", tiers = "", bunLine = String(i + 1)] =
      /^(mark|owns) (\d+)(?: x(\d+))?((?: [a-z]+)*)(?: bun:(\d+))?$/.exec(comment) ?? [];
    const names = tiers.split(" ").filter((name) => name !== "");
    if ((kind !== "mark" && kind !== "owns") || !names.every((name): name is TierName => name in Tier)) {
      throw new SyntaxError(`${file}:${i + 1}: not a mark: ${comment}`);
    }
    return [{
      file,
      line: i + 1,
      kind,
      size: Number(size),
      blocks: Number(blocks),
      tiers: names,
      bunLine: Number(bunLine),
    }];
  });
}
