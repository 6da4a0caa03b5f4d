/** What a console asks an object for in Deno, and in Node and Bun; both are names, nothing is imported. */
const inDeno = Symbol.for("Deno.customInspect");
const inNode = Symbol.for("nodejs.util.inspect.custom");

/** Lets consoles print the instances of a class as `repr` says. */
export function inspectAs<T extends object>(type: { readonly prototype: T }, repr: (value: T) => string): void {
  for (const symbol of [inDeno, inNode]) {
    Object.defineProperty(type.prototype, symbol, {
      configurable: true,
      writable: true,
      value(this: T): string {
        return repr(this);
      },
    });
  }
}

/** What `repr` gives in Python for an instance of a class of this folder. */
export function repr(value: object): string {
  return (value as Record<symbol, () => string>)[inDeno]!();
}
