/** Native libraries, called alike on Deno and on Bun; Node has nothing to call them by. */
import process from "node:process";
import { detectBackend } from "../../lib/runtime/detect.ts";

/** Functions of numbers, by name: how many parameters each has, all of them and the result i32. */
export type Arity = Readonly<Record<string, number>>;

/** Opens a library. */
export function openLibrary<A extends Arity>(
  path: string,
  functions: A,
): { readonly [name in keyof A]: (...args: number[]) => number } {
  const all = Object.entries(functions).map(([name, count]) => [name, new Array<"i32">(count).fill("i32")] as const);
  if ("Deno" in globalThis) {
    const symbols = Object.fromEntries(all.map(([name, parameters]) => [name, { parameters, result: "i32" }] as const));
    return Deno.dlopen(path, symbols as Record<string, Deno.ForeignFunction>).symbols as ReturnType<
      typeof openLibrary<A>
    >;
  }
  const symbols = Object.fromEntries(all.map(([name, args]) => [name, { args, returns: "i32" }] as const));
  return bunFfi().dlopen(path, symbols).symbols as ReturnType<typeof openLibrary<A>>;
}

/** Where the bytes of a view begin; and what the runtime has for a pointer to them. */
export function addressOf(view: Uint8Array<ArrayBuffer>): { address: bigint; pointer: object | number } {
  if (!("Deno" in globalThis || "Bun" in globalThis)) {
    const address = detectBackend().openShim().addressOf(view.buffer)! + BigInt(view.byteOffset);
    return { address, pointer: Number(address) };
  }
  if (!("Deno" in globalThis)) {
    const pointer = bunFfi().ptr(view);
    return { address: BigInt(pointer), pointer };
  }
  const pointer = Deno.UnsafePointer.of(view)!;
  return { address: Deno.UnsafePointer.value(pointer), pointer };
}

interface BunFfi {
  dlopen(path: string, symbols: object): { symbols: object };
  ptr(view: Uint8Array<ArrayBuffer>): number;
}

function bunFfi(): BunFfi {
  return process.getBuiltinModule("bun:ffi") as unknown as BunFfi;
}
