/** One import or re-export of a source. */
export interface Import {
  /** What is imported; undefined where the name is computed. */
  readonly specifier: string | undefined;
  /** Where the name stands. */
  readonly offset: number;
  /** Does it vanish when types are removed? */
  readonly typeOnly: boolean;
}

/** A source as far as the layer check looks at it. */
export interface Scan {
  /** The source with comments and the contents of strings and regular expressions blanked, nothing moved. */
  readonly code: string;
  readonly imports: readonly Import[];
}

/** After these words a slash begins a regular expression. */
const wordBeforeRegExp = /(?:^|[^\w$.])(?:return|typeof|case|in|of|do|else|void|delete|throw|await|yield|new)$/;

/** Reads TypeScript just well enough to tell code from comments, strings and regular expressions. */
export function scan(source: string): Scan {
  let code = "";
  const strings: { value: string; start: number; end: number }[] = [];
  /** For each open `${`, the number of braces that are open inside. */
  const templates: number[] = [];
  let at = 0;

  const keep = (length: number) => {
    code += source.slice(at, at + length);
    at += length;
  };
  const blank = (end: number) => {
    code += source.slice(at, end).replace(/[^\n]/g, " ");
    at = end;
  };
  /** The text of a template from here to its end or to the next `${`. */
  const template = () => {
    let end = at;
    while (end < source.length && source[end] !== "`" && !source.startsWith("${", end)) {
      end += source[end] === "\\" ? 2 : 1;
    }
    blank(Math.min(end, source.length));
    if (source[at] === "`") keep(1);
    else if (at < source.length) {
      keep(2);
      templates.push(0);
    }
  };

  while (at < source.length) {
    const char = source[at]!;
    const open = templates.length - 1;
    if (source.startsWith("//", at) || source.startsWith("#!", at)) {
      blank(endOr(source.indexOf("\n", at), source));
    } else if (source.startsWith("/*", at)) {
      blank(endOr(source.indexOf("*/", at + 2) + 2, source, 2));
    } else if (char === '"' || char === "'") {
      const match = char === '"' ? /"(?:[^"\\\n]|\\[^])*"?/y : /'(?:[^'\\\n]|\\[^])*'?/y;
      match.lastIndex = at;
      const text = match.exec(source)![0];
      strings.push({ value: text.slice(1, -1), start: at, end: at + text.length });
      keep(1);
      blank(at + text.length - 2);
      keep(1);
    } else if (char === "`") {
      keep(1);
      template();
    } else if (char === "}" && open >= 0 && templates[open] === 0) {
      templates.pop();
      keep(1);
      template();
    } else if (char === "/" && beginsRegExp(code)) {
      const match = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
      match.lastIndex = at;
      const text = match.exec(source)?.[0];
      if (text === undefined) keep(1);
      else blank(at + text.length);
    } else {
      if (open >= 0 && char === "{") templates[open]! += 1;
      if (open >= 0 && char === "}") templates[open]! -= 1;
      keep(1);
    }
  }
  return { code, imports: findImports(code, strings) };
}

function endOr(found: number, source: string, none = 0): number {
  return found === none - 1 ? source.length : found;
}

function beginsRegExp(code: string): boolean {
  const before = code.trimEnd();
  const last = before.at(-1);
  if (last === undefined || "(,=:[!&|?{};+-*%~^<>".includes(last)) return true;
  return wordBeforeRegExp.test(before);
}

function findImports(code: string, strings: readonly { value: string; start: number; end: number }[]): Import[] {
  const imports: Import[] = [];
  for (const { value, start } of strings) {
    const before = code.slice(0, start).trimEnd();
    if (/(?<![\w$.])(?:import|require)\s*\($/.test(before) || /(?<![\w$.])import$/.test(before)) {
      imports.push({ specifier: value, offset: start, typeOnly: false });
    } else if (/[\w$}*\s]from$/.test(before)) {
      // The statement runs from its keyword to here, without a string or semicolon between.
      const statement = /(?<![\w$.])(?:import|export)\b[^;"']*$/.exec(before)?.[0];
      if (statement !== undefined) {
        imports.push({ specifier: value, offset: start, typeOnly: /^(?:import|export)\s+type\b/.test(statement) });
      }
    }
  }
  for (const match of code.matchAll(/(?<![\w$.])import\s*\((?!\s*["'])/g)) {
    imports.push({ specifier: undefined, offset: match.index, typeOnly: false });
  }
  return imports;
}
