/** Where code of a class runs: constructors, fields, accessors, static blocks, and what calls them. */
import { keep } from "./keep.ts";

class Base {
  readonly first = keep(new Uint8Array(21_001)); // mark 21001 x3 bun:8
  readonly rest;

  constructor(length: number) {
    this.rest = keep(new Uint8Array(length)); // mark 21003 x3
  }

  method(): Uint8Array {
    return keep(new Uint8Array(21_005)); // mark 21005 x2
  }

  static create(): Base {
    keep(new Uint8Array(21_007)); // mark 21007
    return new Base(21_003);
  }
}

/** Has no constructor of its own. */
class Inherits extends Base {
  readonly own = keep(new ArrayBuffer(21_009)); // mark 21009 bun:94
}

class Derived extends Base {
  #secret = keep(new Uint8Array(21_011)); // mark 21011 bun:42
  static shared = keep(new Uint8Array(21_013)); // mark 21013 bun:27
  static #hidden = [
    keep(new Uint8Array(21_015)), // mark 21015 bun:27
    keep(new Uint8Array(21_017)), // mark 21017 bun:27
  ];
  readonly arrow = () => keep(new Uint8Array(21_019)); // mark 21019 x2

  static {
    keep(new Uint8Array(21_021)); // mark 21021
  }

  constructor() {
    keep(new Uint8Array(21_023)); // mark 21023
    super(
      keep(new Uint8Array(21_025)).length - 22, // mark 21025
    );
    keep(new Uint8Array(21_027)); // mark 21027
  }

  static {
    for (let i = 0; i < 2; i++) {
      keep(new Uint8Array(21_029)); // mark 21029 x2
    }
  }

  override method(): Uint8Array {
    super.method();
    return this.#private();
  }

  #private(): Uint8Array {
    keep(this.#secret);
    return keep(new Uint8Array(21_031)); // mark 21031
  }

  get value(): number {
    return keep(new Uint8Array(21_033)).length; // mark 21033 x2
  }

  set value(length: number) {
    keep(new Uint8Array(length)); // mark 21035
  }

  static get hidden(): number {
    keep(new Uint8Array(21_037)); // mark 21037
    return Derived.#hidden.length;
  }

  [String(keep(new Uint8Array(21_039)).length)](): void {} // mark 21039

  *[Symbol.iterator](): Generator<Uint8Array> {
    try {
      yield keep(new Uint8Array(21_041)); // mark 21041
      yield keep(new Uint8Array(21_043)); // mark 21043
    } finally {
      keep(new Uint8Array(21_045)); // mark 21045
    }
  }

  override toString(): string {
    return `${keep(new Uint8Array(21_047)).length}`; // mark 21047
  }
}

Base.create().method();
const inherits = new Inherits(21_003);
const derived = new Derived();
derived.method();
derived.arrow();
derived.arrow();
derived.value = derived.value + 2;
for (const bytes of derived) if (bytes.length === 21_043) break;

const { value } = derived;
const expression = new (class extends Array {
  readonly bytes = keep(new Uint8Array(21_049)); // mark 21049 bun:103
})();
const literal = {
  get lazy(): Uint8Array {
    return keep(new Uint8Array(21_051)); // mark 21051
  },
  get "quoted name"(): Uint8Array {
    return keep(new Uint8Array(21_053)); // mark 21053
  },
};
Object.assign({}, { ...literal });
Object.defineProperty(literal, "defined", {
  get: () => keep(new Uint8Array(21_055)), // mark 21055
});

/** A class that calls itself an array's, and is called for by `map`. */
class Species extends Array<number> {
  constructor(length: number) {
    super(length);
    keep(new Uint8Array(21_057)); // mark 21057 x2
  }
}
new Species(1).map(() => 1);

console.log("classes", inherits.own.byteLength, value, expression.length, Reflect.get(literal, "defined").length);
console.log(String(derived), Derived.hidden);
