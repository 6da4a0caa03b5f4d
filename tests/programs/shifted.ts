// deno-fmt-ignore-file -- The layout is the point: what is compiled stands on other lines than what is written here.
// @ts-nocheck: the repository's own code has only types that can be erased; programs have these, too.
import { keep } from "./keep.ts";
import type { Anything } from "./shifted_types.ts";

interface Shape {
  readonly sides: number;

  /** Comments
   * of several
   * lines. */
  area(
    unit: "mm"
      | "cm",
  ): number;
}

type Deep<T> = T extends readonly (infer U)[]
  ? Deep<U>
  : T extends object
    ? { [K in keyof T]: Deep<T[K]> }
    : T;

declare global {
  var neverThere: Anything;
}

enum Unit {
  Millimetre = 1,
  Centimetre = Unit.Millimetre * 10,
  Bytes = keep(new Uint8Array(24_001)).length, // mark 24001
}

const enum Constant {
  A = 24_003,
}
keep(new Uint8Array(Constant.A)); // mark 24003

namespace Measures {
  export type Length = number;
  export const bytes = keep(new Uint8Array(24_005)); // mark 24005
  export namespace Inner {
    export function measure(): Length {
      return keep(new Uint8Array(24_007)).length; // mark 24007
    }
  }
}
Measures.Inner.measure();

function overloaded(length: number): Uint8Array;
function overloaded(length: string): Uint8Array;
function overloaded(
  length: number | string,
): Uint8Array {
  return keep(
    new Uint8Array( // mark 24009 x2
      Number(length),
    ) as unknown as Uint8Array<
      ArrayBuffer
    >,
  );
}
overloaded(24_009);
overloaded("24009");

abstract class Abstract<
  T extends Shape,
  U = Deep<T>,
> {
  declare readonly declared: U;
  abstract area(): number;

  constructor(
    protected readonly parameter: number,
    public bytes = keep(new Uint8Array(24_011)), // mark 24011
    private readonly shape?: T,
  ) {
    keep(new Uint8Array(parameter)); // mark 24013
  }

  protected compute(): number;
  protected compute(factor?: number): number;
  protected compute(factor = 1): number {
    return keep(new Uint8Array(24_015)).length * factor; // mark 24015
  }
}

class Square extends Abstract<Shape> implements Shape {
  readonly sides: number = keep(new Uint8Array(24_017)).length; // mark 24017 bun:98

  override area(
    this: Square,
    _unit?: "mm" | "cm",
  ): number {
    return this.compute() + (<number> keep(new Uint8Array(24_019)).length); // mark 24019
  }
}
new Square(24_013).area();

function logged<This, Arguments extends unknown[], Result>(
  method: (this: This, ...rest: Arguments) => Result,
  context: ClassMethodDecoratorContext,
) {
  keep(new Uint8Array(24_021)); // mark 24021
  return function (this: This, ...rest: Arguments): Result {
    keep(new Uint8Array(24_023)); // mark 24023
    return method.apply(this, rest);
  };
}

function sealed(
  _class: unknown,
  _context: ClassDecoratorContext,
): void {
  keep(new Uint8Array(24_025)); // mark 24025
}

@sealed
class Decorated {
  @logged
  method<T>(
    value: T,
  ): T {
    keep(new Uint8Array(24_027)); // mark 24027
    return value;
  }

  @field static accessor counted = keep(new Uint8Array(24_029)); // mark 24029
}

function field(_target: unknown, _context: unknown) {
  return {
    init(value: unknown): unknown {
      keep(new Uint8Array(24_031)); // mark 24031
      return value;
    },
  };
}
new Decorated().method<
  string
>("value");

let nothing: { bytes?: Uint8Array } | undefined;
const optional = (nothing as { bytes?: Uint8Array })?.bytes!?.length
  ?? keep(new Uint8Array(24_033)).length; // mark 24033

const satisfies = {
  a: keep(new Uint8Array(24_035)), // mark 24035
} satisfies Record<
  string,
  Uint8Array
>;

function assertsIt(value: unknown): asserts value is number {
  if (typeof value !== "number") throw new TypeError();
  keep(new Uint8Array(24_037)); // mark 24037
}
assertsIt(optional);

const generic = <T,>(
  value: T,
): T => {
  type Local = {
    value: T;
  };
  const local: Local = { value };
  keep(new Uint8Array(24_039)); // mark 24039
  return local.value;
};
generic<Shape | null>(null);

/* A comment before it */ keep(new Uint8Array(24_041)); /* and one behind: */ // mark 24041
const text = `a
  template of
  ${keep(new Uint8Array(24_043)).length /* mark 24043 */}
  lines`;
const astral = "😀𝒳é"; keep(new Uint8Array(24_045)); // mark 24045

export { satisfies };
export type { Shape };
export default optional;
console.log("shifted", text.split("\n").length, astral.length, Unit.Centimetre, Object.keys(satisfies).join());
