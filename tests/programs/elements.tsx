/**
 * JSX, compiled to calls of `h`.
 *
 * @jsx h
 */
import { keep } from "./keep.ts";

interface Element {
  readonly name: string;
  readonly children: readonly unknown[];
}

declare global {
  namespace JSX {
    interface IntrinsicElements {
      // deno-lint-ignore no-explicit-any
      [name: string]: any;
    }
  }
}

function h(
  name: string | ((properties: Record<string, unknown> | null) => Element),
  properties: Record<string, unknown> | null,
  ...children: unknown[]
): Element {
  keep(new Uint8Array(25_001)); // mark 25001 x6
  return typeof name === "string" ? { name, children } : name(properties);
}

function Item({ length }: { length: number }): Element {
  const bytes = keep(new Uint8Array(length)); // mark 25003 x2
  return (
    <li title={String(bytes.length)}>
      {keep(new Uint8Array(25_005)).length /* mark 25005 x2 */}
    </li>
  );
}

const list = (
  <ul>
    <Item length={25_003} />
    <Item
      length={keep(new Uint8Array(25_003 + 4)).length - 4} // mark 25007
    />
    <br />
  </ul>
);

console.log("elements", list.children.length);
