/**
 * Functions of the platform that stand behind proxies while tracing: names, lengths, prototypes, own properties and texts
 * stay, and errors that pass through have the stack that they would have without, but for two frames of one that is cut.
 */

import { fileURLToPath } from "node:url";

/** Any function or class. */
export type Callable = (...args: unknown[]) => unknown;

/** Taken before a program can change them. */
const { Error, Map, Proxy, Reflect } = globalThis;
const { apply, construct, defineProperty, getOwnPropertyDescriptor } = Reflect;
const { match, replace } = String.prototype;
const ownPath = fileURLToPath(import.meta.url);

/** What proxies stand for; its own method, for a program can change that of others. */
const originals = Object.assign(new Map<unknown, Callable>(), { get: Map.prototype.get });

/** What a proxy stands for. */
export function originalOf(proxy: Callable): Callable {
  return originals.get(proxy)!;
}

/** The engine's own, where a program has set none. */
const prepareStackTrace = (Error as { prepareStackTrace?: unknown }).prepareStackTrace;

/** Frames of the traps below, of what they call the original by, and of the proxy that they belong to. */
const ownFrames =
  /(?:\n {4}at (?:construct|apply) \((?:unknown|native)[^\n]*\))?\n {4}at tracemalloc(?:Construct|Apply) \([^\n]*\)\n {4}at unknown(?=\n|$)/g;

/** Where a line of a stack is. */
const placeOf = /\n {4}at (?:[^\n]* \()?(native|(?:\/|file:)[^\n]*?):(\d+)(?::(\d+))?\)?(?=\n|$)/;

/** An error without our frames in its stack, and not of our place: unless the program makes the text of stacks itself. */
function withoutOwnFrames(error: unknown): unknown {
  if (!(error instanceof Error) || (Error as { prepareStackTrace?: unknown }).prepareStackTrace !== prepareStackTrace) {
    return error;
  }
  const descriptor = getOwnPropertyDescriptor(error, "stack");
  if (typeof descriptor?.value !== "string" || !descriptor.writable) return error;
  const stack = apply(replace, descriptor.value, [ownFrames, ""]) as string;
  if (stack === descriptor.value) return error;
  error.stack = stack;
  const place = error as { line?: number; column?: number; sourceURL?: string };
  const [, url, line, column] = (apply(match, stack, [placeOf]) ?? []) as string[];
  // Of native code that we call the engine says no file.
  if ((place.sourceURL === ownPath || place.sourceURL === undefined) && url !== undefined && url !== "native") {
    place.sourceURL = url;
    place.line = Number(line);
    place.column = Number(column);
  }
  return error;
}

/** A constructor, with something to do before and after each object that it makes. */
export function wrapConstructor(
  original: Callable,
  { before, after }: {
    readonly before?: (args: unknown[]) => unknown[];
    readonly after?: (made: object, args: readonly unknown[]) => void;
  },
): Callable {
  const proxy: Callable = new Proxy(original, {
    construct: function tracemallocConstruct(target, args, newTarget) {
      let made: object;
      try {
        made = construct(target, before ? before(args) : args, newTarget === proxy ? target : newTarget) as object;
      } catch (error) {
        throw withoutOwnFrames(error);
      }
      after?.(made, args);
      return made;
    },
    apply: function tracemallocApply(target, self, args) {
      try {
        return apply(target, self, args);
      } catch (error) {
        throw withoutOwnFrames(error);
      }
    },
  });
  originals.set(proxy, original);
  return proxy;
}

/** A function, with something to do before and after each call; what `before` returns, `after` is given. */
export function wrapFunction<T>(
  original: Callable,
  before: () => T,
  after: (result: unknown, args: readonly unknown[], self: unknown, before: T) => void,
): Callable {
  const proxy: Callable = new Proxy(original, {
    apply: function tracemallocApply(target, self, args) {
      const first = before();
      let result: unknown;
      try {
        result = apply(target, self, args);
      } catch (error) {
        throw withoutOwnFrames(error);
      }
      after(result, args, self, first);
      return result;
    },
  });
  originals.set(proxy, original);
  return proxy;
}

const functionToString = Function.prototype.toString as Callable;

/** The text of a proxy is that of what it stands for. */
const proxyToString: Callable = new Proxy(functionToString, {
  apply: function tracemallocApply(target, self, args) {
    try {
      return apply(target, originals.get(self) ?? self, args);
    } catch (error) {
      throw withoutOwnFrames(error);
    }
  },
});
originals.set(proxyToString, functionToString);

/** A property that is to hold a proxy, in place of what that stands for. */
export interface Place {
  readonly owner: object;
  readonly name: PropertyKey;
  readonly proxy: Callable;
}

/** Puts proxies in their places. Returns what puts the originals back, with all that their properties had. */
export function putInPlace(places: readonly Place[]): () => void {
  const undo: (() => void)[] = [];
  for (
    const { owner, name, proxy } of [...places, { owner: Function.prototype, name: "toString", proxy: proxyToString }]
  ) {
    const before = getOwnPropertyDescriptor(owner, name);
    // What the program has changed is the program's: before, and in the meantime.
    if (before === undefined || before.value !== originals.get(proxy)) continue;
    if (!defineProperty(owner, name, { ...before, value: proxy })) continue;
    undo.push(() => {
      if (getOwnPropertyDescriptor(owner, name)?.value === proxy) defineProperty(owner, name, before);
    });
  }
  return () => {
    for (const back of undo.reverse()) back();
  };
}
