import { growUint32 } from "./grow.ts";

/** Numbers distinct pairs of 32-bit numbers from 0 on, in the order of their first appearance. */
export class PairTable {
  /** First and second number of each pair; valid up to `length`, and until the next pair is added. */
  first: Uint32Array = new Uint32Array(16);
  second: Uint32Array = new Uint32Array(16);
  /** How many pairs there are. */
  length = 0;
  /** Open addressing: number of the pair plus 1, or 0. Its length is a power of 2, at most half is used. */
  #slots: Uint32Array = new Uint32Array(64);

  /** The number of a pair. */
  intern(first: number, second: number): number {
    const mask = this.#slots.length - 1;
    let slot = hash(first, second) & mask;
    for (let found = this.#slots[slot]!; found !== 0; found = this.#slots[slot]!) {
      if (this.first[found - 1] === first && this.second[found - 1] === second) return found - 1;
      slot = (slot + 1) & mask;
    }
    const id = this.length++;
    this.first = growUint32(this.first, this.length);
    this.second = growUint32(this.second, this.length);
    this.first[id] = first;
    this.second[id] = second;
    this.#slots[slot] = this.length;
    if (2 * this.length > this.#slots.length) this.#rehash();
    return id;
  }

  #rehash(): void {
    const slots = new Uint32Array(4 * this.#slots.length);
    const mask = slots.length - 1;
    for (let id = 0; id < this.length; id++) {
      let slot = hash(this.first[id]!, this.second[id]!) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = id + 1;
    }
    this.#slots = slots;
  }
}

/** Spreads close pairs, as parents and frames are, over all bits (multipliers and shifts of the murmur3 finalizer). */
function hash(first: number, second: number): number {
  let bits = Math.imul(first, 0x9e3779b1) + second | 0;
  bits = Math.imul(bits ^ bits >>> 16, 0x85ebca6b);
  bits = Math.imul(bits ^ bits >>> 13, 0xc2b2ae35);
  return bits ^ bits >>> 16;
}
