import process from "node:process";
import { isatty } from "node:tty";

/** What of a terminal matters to what is printed on it. */
export interface Terminal {
  /** Columns. */
  readonly width: number;
  readonly colour: boolean;
}

/** The terminal that standard output is; `null` where it is a file or a pipe, which get plain text. */
export function outputTerminal(): Terminal | null {
  return isatty(1) ? { width: process.stdout.columns || 80, colour: wantsColour() } : null;
}

/** Not where the user (`NO_COLOR`, see no-color.org) or the terminal says so. */
export function wantsColour(): boolean {
  return (process.env["NO_COLOR"] ?? "") === "" && process.env["TERM"] !== "dumb";
}

/** How a piece of text is to look. */
export type Style = "bold" | "dim" | "grown" | "shrunk" | "place" | "heading";

const codes: Readonly<Record<Style, string>> = {
  bold: "1",
  dim: "2",
  grown: "31",
  shrunk: "34",
  place: "36",
  heading: "1;4",
};

/** Text in a style, where there are colours. */
export function styled(text: string, style: Style, colour: boolean): string {
  return colour && text !== "" ? `\x1b[${codes[style]}m${text}\x1b[0m` : text;
}

/** Text whose control characters, which could make the terminal do anything, are spelled out. */
export function printable(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex
    /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\p{Surrogate}/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** How many columns a text takes: none for marks on the character before, two for those of East Asia and emoji. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text) columns += widthOf(character);
  return columns;
}

function widthOf(character: string): number {
  if (character < "\u0300") return 1;
  if (/\p{Mark}|[\u200b-\u200d\ufe0f]/u.test(character)) return 0;
  return /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u
      .test(character)
    ? 2
    : 1;
}

/** Text in so many columns at most: what is too much is left out at its start, or at its end. */
export function shorten(text: string, width: number, from: "start" | "end"): string {
  if (columnsOf(text) <= width) return text;
  const characters = [...text];
  if (from === "start") characters.reverse();
  let kept = "", left = width - 1;
  for (const character of characters) {
    left -= widthOf(character);
    if (left < 0) break;
    kept = from === "start" ? character + kept : kept + character;
  }
  return width < 1 ? "" : from === "start" ? `…${kept}` : `${kept}…`;
}

/** Text with spaces before or after it, so that it takes so many columns. */
export function pad(text: string, width: number, side: "before" | "after"): string {
  const spaces = " ".repeat(Math.max(0, width - columnsOf(text)));
  return side === "before" ? spaces + text : text + spaces;
}
