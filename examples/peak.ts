/** How much memory a part of the program needs at most, and how little the next part does. */
import { getTracedMemory, resetPeak, start } from "@x/tracemalloc";

/** Numbers outside of the JavaScript heap, whose memory is given back at the end of the block that uses them. */
class Numbers implements Disposable {
  readonly values: Float64Array<ArrayBuffer>;

  constructor(count: number) {
    this.values = new Float64Array(count);
    for (let i = 0; i < count; i++) this.values[i] = i;
  }

  [Symbol.dispose](): void {
    this.values.buffer.transfer(0);
  }
}

function sum(count: number): number {
  using numbers = new Numbers(count);
  return numbers.values.reduce((total, value) => total + value, 0);
}

start();

const large = sum(2_500_001);
const [sizeAfterLarge, peakOfLarge] = getTracedMemory();

resetPeak();

const small = sum(250_001);
const [sizeAfterSmall, peakOfSmall] = getTracedMemory();

console.log(`sum ${large}: ${sizeAfterLarge} bytes are left, the peak was ${peakOfLarge}`);
console.log(`sum ${small}: ${sizeAfterSmall} bytes are left, the peak was ${peakOfSmall}`);
