/**
 * Programs at random: modules full of functions of every kind that call each other in every way, and allocate. The same
 * seed makes the same program.
 *
 * Allocations are written `K(new Uint8Array(N()), T(21))`: `N` gives the next size, `T` takes the engine's own stack trace
 * so many columns behind the allocation, `K` keeps the block (harness.mjs).
 */
import { Random } from "../../conformance/random.ts";

/** The files of a program, by name. */
export interface Program {
  readonly files: ReadonlyMap<string, string>;
  readonly main: string;
  /** Run in a worker at the same time, if any. */
  readonly worker: string | undefined;
}

/** Seeds below make programs as they did before there were the last kinds of functions: some of them found mistakes. */
const firstWithAll = 1000;

/** Makes a program. */
export function generateProgram(seed: number): Program {
  const random = new Random(seed);
  const files = new Map<string, string>();
  const add = (name: string) => {
    const extension = random.pick(["mjs", "mjs", "ts", "tsx", "min.mjs"]);
    files.set(`${name}.${extension}`, new Module(random, name, extension, seed >= firstWithAll).text());
    return `${name}.${extension}`;
  };
  const main = add("main");
  return { files, main, worker: random.once(4) ? add("worker") : undefined };
}

/** A function of the program, and how it is called. */
interface Callee {
  /** Of one call, in evaluations of allocations and the like. */
  readonly cost: number;
  readonly call: (argument: string) => string;
  /** How it is called where one can await, if it is asynchronous. */
  readonly awaited?: (argument: string) => string;
}

/** What a body is made for. */
interface Scope {
  readonly async?: boolean;
  /** The names of the module are not to be seen: calls go through its registry. */
  readonly detached?: boolean;
  /** Sloppy code, where there is `with`. */
  readonly sloppy?: boolean;
}

interface Body {
  readonly statements: string;
  readonly result: string;
  readonly cost: number;
}

/** The most that one call of a function may cost. */
const mostCost = 150;

class Module {
  readonly #random: Random;
  readonly #prefix: string;
  readonly #typed: boolean;
  readonly #elements: boolean;
  readonly #minified: boolean;
  readonly #withAll: boolean;
  readonly #callees: Callee[] = [];
  readonly #definitions: string[] = [];
  #names = 0;
  #spent = 0;

  constructor(random: Random, prefix: string, extension: string, withAll: boolean) {
    this.#random = random;
    this.#prefix = prefix;
    this.#typed = extension.startsWith("ts");
    this.#elements = extension === "tsx";
    this.#minified = extension === "min.mjs";
    this.#withAll = withAll;
  }

  text(): string {
    const r = this.#random;
    const count = 12 + r.below(14);
    for (let i = 0; i < count; i++) this.#define();
    const last = this.#callees.slice(-6);
    const run = last.map(({ call }) => `sum += ${call("d")};`).join("§");
    const awaits = this.#callees.filter(({ awaited }) => awaited).slice(-3)
      .map(({ awaited }) => `sum += ${awaited!("d")};`).join("§");
    return this.#layOut([
      // A bundle: all of it on one line of half a megabyte.
      this.#minified && this.#withAll && r.once(3)
        ? Array.from({ length: 12_000 }, (_, i) => `function pad${i}(a){return a.value${i}*${i};}`).join("")
        : "",
      this.#elements ? `/** @jsxRuntime classic @jsx element */§` : "",
      this.#elements
        ? "const element = (type⟦: any⟧, props⟦: any⟧, ...rest⟦: any[]⟧)⟦: number⟧ => type(props.d) + rest.length;§"
        : "",
      this.#withAll && this.#typed
        ? "const wrapped = (f: any, _: any): any =>§ function (this: any, ...all: any[]) {§ return f.apply(this, all); };§"
        : "",
      `const R⟦: any⟧ = globalThis.R_${this.#prefix} = {};§`,
      ...this.#definitions,
      `export function run(d⟦: number⟧) {§ let sum = 0;§ ${run}§ return sum; }§`,
      `export async function later(d⟦: number⟧) {§ let sum = 0;§ ${awaits}§ return sum; }§`,
    ].join(""));
  }

  #name(kind = "v"): string {
    return `${kind}${this.#names++}`;
  }

  /** Fills in types and white space; § is where there may be any. */
  #layOut(text: string): string {
    const r = this.#random;
    const typed = text.replace(/⟦(.*?)⟧/g, (_, type) => this.#typed ? type : "");
    const declarations = () => {
      const name = this.#name("Type");
      return `interface ${name} {\n  a: number;\n\n  b?: ${r.pick(["string", "boolean[]", "() => void"])};\n}\n`;
    };
    const shifted = typed.replace(/¶/g, () => this.#typed && r.once(2) ? declarations() : "");
    if (this.#minified) return shifted.replace(/§/g, "");
    return shifted.replace(/§/g, () => {
      switch (r.below(9)) {
        case 0:
          return "\n  // a remark\n";
        case 1:
          return " /* a remark */ ";
        case 2:
          return "\n\n";
        case 3:
        case 4:
          return "";
        default:
          return `\n${" ".repeat(r.below(9))}`;
      }
    });
  }

  // ---- expressions

  /** What a body may still spend. */
  #afford(cost: number): boolean {
    if (this.#spent + cost > mostCost) return false;
    this.#spent += cost;
    return true;
  }

  #allocation(): string {
    this.#spent++;
    return this.#random.pick([
      "K(new Uint8Array(N()), T(21))",
      "K(new ArrayBuffer(N()), T(22))",
      "K(P(N()), T(8))",
      "K(F(N()), T(8))",
      "H()",
      "H2()",
    ]);
  }

  #expression(scope: Scope, depth = 0): string {
    const r = this.#random;
    if (depth > 2 || r.once(3)) return this.#allocation();
    const inner = () => this.#expression(scope, depth + 1);
    switch (r.below(12)) {
      case 0:
        return `(${inner()} +§ ${inner()})`;
      case 1:
        return `(d & 1 ?§ ${inner()} :§ ${inner()})`;
      case 2:
        return `Math.max(§${inner()},§ ...[${inner()}])`;
      case 3:
        return `((v⟦: number⟧) =>§ v + ${
          this.#expression({ ...scope, async: false }, depth + 1)
        })(${this.#argument()})`;
      case 4:
        return this.#afford(8) && !scope.detached ? `eval(${JSON.stringify(this.#evalText(scope, depth))})` : inner();
      default:
        return this.#callExpression(scope);
    }
  }

  #evalText(scope: Scope, depth: number): string {
    const text = `§${this.#expression({ ...scope, async: false, detached: true }, depth + 2)}`;
    const plain = text.replace(/⟦.*?⟧/g, "");
    // The compiler may give variables another name.
    return this.#layOut(this.#typed ? plain.replace(/\bd\b/g, "5") : plain);
  }

  #argument(): string {
    return this.#random.pick(["d", "d + 1", "3", "d & 7", "(d | 0)"]);
  }

  /** A call of a function made before, directly or by way of something of the engine's. */
  #callExpression(scope: Scope): string {
    const r = this.#random;
    const callees = this.#callees.filter(({ cost }) => cost + this.#spent + 1 <= mostCost);
    if (callees.length === 0) return this.#allocation();
    const callee = r.pick(callees);
    this.#afford(callee.cost + 1);
    const argument = this.#argument();
    if (scope.async && callee.awaited && !r.once(4)) return callee.awaited(argument);
    const call = callee.call;
    const plain = call(argument);
    const wrapped = [
      () => `[${argument}].map((v⟦: number⟧) =>§ ${call("v")})[0]`,
      () => `[${argument}].flatMap((v⟦: number⟧) => {§ return [${call("v")}]; })[0]`,
      () => `[0].reduce((a⟦: number⟧, v⟦: number⟧) => a +§ ${call("v")}, d)`,
      () => `[2].findLast((v⟦: number⟧) =>§ ${call("v")})`,
      () => `(([2, 1].sort((a⟦: number⟧, b⟦: number⟧) =>§ a - b + 0 * ${call("a")})), 1)`,
      () => `Array.from([${argument}], (v⟦: number⟧) =>§ ${call("v")})[0]`,
      () => `JSON.parse("1", (_⟦: string⟧, v⟦: number⟧) =>§ ${call("v")})`,
      () => `JSON.stringify({ toJSON: () =>§ ${plain} }).length`,
      () => `"ab".replace(/b/, () =>§ String(${plain})).length`,
      () => `+{ valueOf: () =>§ ${plain} }`,
      () => "`${{ toString: () =>§ String(" + plain + ") }}`.length",
      () => `({ [Symbol.toPrimitive]: () =>§ ${plain} } * 1)`,
      () => `[...{ *[Symbol.iterator]() {§ yield ${plain}; } }][0]`,
      () => `Iterator.from([${argument}]).map((v⟦: number⟧) =>§ ${call("v")}).toArray()[0]`,
      () => `Uint8Array.of(1).map((v⟦: number⟧) =>§ ${call("v")})[0]`,
      () => `(new Map([[1, 2]]).forEach((v⟦: number⟧) =>§ ${call("v")}), 2)`,
      () => `(new Promise((done⟦: any⟧) =>§ done(${plain})), 3)`,
      () => `(Q(() =>§ ${plain}), 4)`,
      () => `(Promise.resolve(${argument}).then((v⟦: number⟧) =>§ ${call("v")}), 5)`,
      () => `Reflect.apply((v⟦: number⟧) =>§ ${call("v")}, null, [${argument}])`,
      () => `((v⟦: number⟧) =>§ ${call("v")}).call(null, ${argument})`,
      () => `((v⟦: number⟧) =>§ ${call("v")}).bind(null, ${argument})()`,
      () => `new (class {§ v = ${plain}; })().v`,
      () => `(class {§ static v = 0;§ static {§ this.v = ${plain}; } }).v`,
      () => `({ get v() {§ return ${plain}; } }).v`,
      () => `(({ a = ${plain} }⟦: any⟧ = {}) =>§ a)()`,
      () => `(() => {§ const [a = ${plain}] = []⟦ as any[]⟧;§ return a; })()`,
      () => `W(${argument}, (v⟦: number⟧) =>§ ${call("v")})`,
      () => `C(${argument}, (v⟦: number⟧) =>§ ${call("v")})`,
      () => `C2(${argument}, (v⟦: number⟧) =>§ ${call("v")})`,
    ];
    // In eval's text there are no types, and arrows of the module are not to be seen.
    if (scope.detached || r.once(2)) return plain;
    if (!this.#afford(3)) return plain;
    return r.pick(wrapped)();
  }

  // ---- statements

  #statement(scope: Scope): string {
    const r = this.#random;
    const e = () => this.#expression(scope);
    const plain = () => this.#expression({ ...scope, async: false });
    switch (r.below(13)) {
      case 0: {
        const i = this.#name("i"), spent = this.#spent;
        const inner = e(), cost = this.#spent - spent;
        const times = this.#spent + cost * 2 <= mostCost ? 3 : 1;
        this.#spent += cost * (times - 1);
        return `for (let ${i} = 0; ${i} < ${times}; ${i}++) {§ r += ${inner};§ }§`;
      }
      case 1:
        return `if (d % 2 === ${r.below(2)}) {§ r += ${e()};§ } else {§ r -= ${e()};§ }§`;
      case 2:
        return `try {§ if (${e()} !== -1) throw new Error("caught");§ } catch {§ r += ${e()};§ } finally {§ r++; void ${e()};§ }§`;
      case 3:
        return `switch (d & 1) {§ case 0: r += ${e()};§ break;§ default:§ r ^= ${e()};§ }§`;
      case 4: {
        const name = this.#name("o");
        return `const ${name}⟦: any⟧ = { a: 1,§ b: ${e()},§ ["c" + d]: ${e()} };§ r += ${name}.a;§`;
      }
      case 5:
        return `r += ((d⟦: number⟧) => {§ let r = 0;§ r += ${plain()};§ return r; })(${this.#argument()});§`;
      case 6: {
        const name = this.#name("inner");
        return `function ${name}(d⟦: number⟧) {§ return d +§ ${plain()}; }§ r += ${name}(d) + ${name}(d + 1);§`;
      }
      case 7:
        return `for (const v of [${e()}, 1]) r += v;§`;
      case 8: {
        const name = this.#name("n");
        return `let ${name} = 0;§ outer${name}: while (true) {§ if (${name}++ > 0) break outer${name};§ r += ${e()};§ }§`;
      }
      case 9:
        return `r += ${e()},§ r += ${e()};§`;
      default:
        return `r += ${e()};§`;
    }
  }

  #body(scope: Scope = {}): Body {
    this.#spent = 0;
    const statements = Array.from({ length: 1 + this.#random.below(3) }, () => this.#statement(scope));
    const pause = scope.async ? "await 0;§ " : "";
    statements.splice(this.#random.below(statements.length + 1), 0, pause);
    return { statements: `let r = 0;§ ${statements.join("")}`, result: "r & 1023", cost: this.#spent + 1 };
  }

  // ---- functions

  #define(): void {
    const r = this.#random;
    const make = r.pick(this.#withAll ? [...this.#makers, ...this.#laterMakers] : this.#makers);
    const name = this.#name("f");
    this.#definitions.push("¶");
    make(name);
  }

  #add(name: string, definition: string, callee: Callee): void {
    this.#definitions.push(`${definition}§`);
    // The detached call goes through the registry, and so can any other.
    const registered = `R_${this.#prefix}.${name}`;
    this.#definitions.push(`R.${name} = (d⟦: number⟧) =>§ ${callee.call("d")};§`);
    this.#callees.push(callee, { cost: callee.cost + 1, call: (argument) => `${registered}(${argument})` });
  }

  /** In code from text nothing of the module is to be seen. */
  #detachedBody(): Body {
    const callees = this.#callees.splice(0);
    this.#callees.push(...callees.filter(({ call }) => call("").startsWith("R_")));
    const body = this.#body({ detached: true });
    this.#callees.splice(0, Infinity, ...callees);
    return body;
  }

  /** As text within the program: laid out now, without types. */
  #quoted(text: string): string {
    const plain = text.replace(/⟦.*?⟧/g, "");
    return JSON.stringify(this.#layOut(plain));
  }

  readonly #makers: ((name: string) => void)[] = [
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(f, `function ${f}(d⟦: number⟧)⟦: number⟧ {§ ${statements}return ${result}; }`, {
        cost,
        call: (a) => `${f}(${a})`,
      });
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(f, `const ${f} = (d⟦: number⟧)⟦: number⟧ => {§ ${statements}return ${result}; };`, {
        cost,
        call: (a) => `${f}(${a})`,
      });
    },
    (f) => {
      this.#spent = 0;
      const e = this.#expression({});
      this.#add(f, `const ${f} = (d⟦: number⟧) =>§ ${e};`, { cost: this.#spent + 1, call: (a) => `${f}(${a})` });
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `class C${f} {§ m(d⟦: number⟧) {§ ${statements}return ${result}; } }§ const o${f} = new C${f}();`,
        { cost, call: (a) => `o${f}.m(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `class C${f} {§ static #m(d⟦: number⟧) {§ ${statements}return ${result}; }§ static m(d⟦: number⟧) {§ return C${f}.#m(d); } }`,
        { cost, call: (a) => `C${f}.m(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `const o${f}⟦: any⟧ = {§ x: 0, r: 0,§ get v() {§ const d = this.x; ${statements}return ${result}; },§ set w(d⟦: number⟧) {§ this.r = d; this.r = ${this.#allocation()}; } };`,
        { cost: cost + 1, call: (a) => `(o${f}.x = ${a}, o${f}.w = 1, o${f}.v)` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `function* ${f}(d⟦: number⟧)⟦: any⟧ {§ ${statements}yield ${result};§ yield ${this.#allocation()}; }`,
        {
          cost: cost + 1,
          call: this.#random.pick([
            (a: string) => `${f}(${a}).next().value`,
            (a: string) => `[...${f}(${a})].length`,
            (a: string) => `Array.from(${f}(${a})).length`,
          ]),
        },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body({ async: true });
      this.#add(f, `async function ${f}(d⟦: number⟧) {§ ${statements}return ${result}; }`, {
        cost,
        call: (a) => `(S(${f}(${a})), 1)`,
        awaited: (a) => `(await ${f}(${a}))`,
      });
    },
    (f) => {
      const { statements, result, cost } = this.#body({ async: true });
      this.#add(f, `async function* ${f}(d⟦: number⟧)⟦: any⟧ {§ ${statements}yield ${result}; }`, {
        cost,
        call: (a) => `(S(${f}(${a}).next()), 1)`,
        awaited: (a) => `(await ${f}(${a}).next()).value`,
      });
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `class B${f} {§ a = ${this.#allocation()};§ ⟦v: number;⟧§ constructor(d⟦: number⟧) {§ ${statements}this.v = ${result}; } }§ ` +
          `class D${f} extends B${f} {§ #p = ${this.#allocation()};§ constructor(d⟦: number⟧) {§ super(d);§ this.v += this.#p &§ ${this.#allocation()}; } }`,
        { cost: cost + 3, call: (a) => `new ${this.#random.pick(["B", "D"])}${f}(${a}).v` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `const p${f}⟦: any⟧ = new Proxy(function () {}⟦ as any⟧, {§ get(_, k) {§ const d = Number(k); ${statements}return ${result}; },§ ` +
          `apply: (_, self, [d]) =>§ d & ${this.#allocation()},§ has: (_, k) =>§ !${this.#allocation()} });`,
        {
          cost: cost + 2,
          call: this.#random.pick([
            (a: string) => `p${f}[${a}]`,
            (a: string) => `p${f}(${a})`,
            (a: string) => `(Number("x" in p${f}) + ${a})`,
          ]),
        },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(f, `function ${f}(_⟦: any⟧, d⟦: number⟧) {§ ${statements}return ${result}; }`, {
        cost,
        call: (a) => `${f}\`a \${${a}} b\``,
      });
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `const ${f} = ((k⟦: number⟧) =>§ function named(d⟦: number⟧)⟦: number⟧ {§ ${statements}return ${result} + k; })(1);`,
        { cost, call: (a) => `${f}(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `function ${f}(d⟦: number⟧, n = 5)⟦: number⟧ {§ if (n > 0) return 1 +§ ${f}(d, n - 1);§ ${statements}return ${result}; }`,
        { cost: cost + 5, call: (a) => `${f}(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#detachedBody();
      const text = `§(d) => {§ ${statements}return ${result}; }`;
      const ending = this.#random.once(2) ? ` + "\\n//# sourceURL=file:///made/${this.#prefix}-${f}.js"` : "";
      this.#add(f, `const ${f} = (0, eval)(${this.#quoted(text)}${ending});`, { cost, call: (a) => `${f}(${a})` });
    },
    (f) => {
      const { statements, result, cost } = this.#detachedBody();
      this.#add(f, `const ${f}⟦: any⟧ = new Function("d", ${this.#quoted(`§${statements}return ${result};`)});`, {
        cost,
        call: (a) => `${f}(${a})`,
      });
    },
    (f) => {
      const { statements, result, cost } = this.#detachedBody();
      const place = `{ filename: "made-${this.#prefix}-${f}.js", lineOffset: ${this.#random.below(50)}, columnOffset: ${
        this.#random.below(50)
      } }`;
      const text = this.#quoted(`(d) => {§ ${statements}return ${result}; }`);
      const where = this.#random.pick(["runInThisContext", "runInNewContext"]);
      this.#add(f, `const ${f} = V.${where}(${text}, ${where === "runInNewContext" ? "globals(), " : ""}${place});`, {
        cost,
        call: (a) => `${f}(${a})`,
      });
    },
    (f) => {
      const { statements, result, cost } = this.#detachedBody();
      const text = this.#quoted(`export default (d) => {§ ${statements}return ${result}; };`);
      this.#add(f, `const { default: ${f} } = await M(${this.#random.pick(["'data:'", "'blob:'"])}, ${text});`, {
        cost,
        call: (a) => `${f}(${a})`,
      });
    },
    (f) => {
      if (!this.#elements) return;
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `function E${f}({ d }⟦: any⟧) {§ ${statements}return ${result}; }§ const ${f} = (d⟦: number⟧)⟦: any⟧ => <B${f} d={d}>§ text</B${f}>;§ const B${f} = (d⟦: any⟧) => E${f}({ d });`,
        {
          cost,
          call: (a) => `${f}(${a})`,
        },
      );
    },
    (f) => {
      if (!this.#typed) return;
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `enum N${f} {§ a = 1,§ b }§ namespace S${f} {§ export function m<A extends number>(d: A): number {§ ${statements}return (${result}) + N${f}.b; } }`,
        { cost, call: (a) => `S${f}.m⟦<number>⟧(${a})` },
      );
    },
  ];

  readonly #laterMakers: ((name: string) => void)[] = [
    (f) => {
      if (!this.#typed) return;
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `class C${f} {§ @wrapped m(d: number): number {§ ${statements}return ${result}; }§ @wrapped static s(d: number): number {§ return new C${f}().m(d) +§ ${this.#allocation()}; } }`,
        { cost: cost + 1, call: (a) => `C${f}.s(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `class C${f} {§ #x = 0;§ get #v() {§ const d = this.#x; ${statements}return ${result}; }§ set #w(d⟦: number⟧) {§ this.#x = d + ${this.#allocation()}; }§ #m(d⟦: number⟧) {§ this.#w = d;§ return this.#v; }§ m(d⟦: number⟧) {§ return this.#m(d); } }§ const o${f} = new C${f}();`,
        { cost: cost + 1, call: (a) => `o${f}.m(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `function ${f}(d⟦: number⟧) {§ return (class {§ static v = ${this.#allocation()};§ static {§ ${statements}this.v += ${result}; } }).v; }`,
        { cost: cost + 1, call: (a) => `${f}(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body({ async: true });
      this.#add(
        f,
        `async function* g${f}(d⟦: number⟧)⟦: any⟧ {§ ${statements}yield ${result};§ yield ${this.#allocation()}; }§ ` +
          `async function ${f}(d⟦: number⟧) {§ let r = 0;§ for await (const v of g${f}(d)) r += v +§ ${this.#allocation()};§ return r; }`,
        { cost: cost + 3, call: (a) => `(S(${f}(${a})), 1)`, awaited: (a) => `(await ${f}(${a}))` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `const ${f} = (d⟦: number⟧) =>§ W(d, (d⟦: number⟧) =>§ C(d, (d⟦: number⟧) => {§ ${statements}return ${result}; }));`,
        { cost: cost + 2, call: (a) => `${f}(${a})` },
      );
    },
    (f) => {
      const { statements, result, cost } = this.#body();
      this.#add(
        f,
        `const p${f}⟦: any⟧ = new Proxy(class {}⟦ as any⟧, {§ construct(_, [d]) {§ ${statements}return { v: ${result} }; },§ set: (_, k, d) =>§ d < 0 || !!${this.#allocation()},§ ownKeys: () =>§ ["a", ${this.#allocation()} ? "prototype" : "b"] });`,
        {
          cost: cost + 2,
          call: this.#random.pick([
            (a: string) => `new p${f}(${a}).v`,
            (a: string) => `(p${f}.x = ${a})`,
            (a: string) => `(new p${f}(${a}).v + Reflect.ownKeys(p${f}).length)`,
          ]),
        },
      );
    },
  ];
}
