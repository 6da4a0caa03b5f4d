/** Code that runs later: behind `await`, in timers, in callbacks of promises, as microtasks. */
import { EventEmitter } from "node:events";
import process from "node:process";
import { keep } from "./keep.ts";

const later = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

async function awaits(): Promise<number> {
  keep(new Uint8Array(23_001)); // mark 23001
  await undefined;
  keep(new Uint8Array(23_003)); // mark 23003
  await later(1);
  keep(new Uint8Array(23_005)); // mark 23005
  try {
    await Promise.reject(new Error("expected"));
  } catch {
    keep(new Uint8Array(23_007)); // mark 23007
  } finally {
    await undefined;
    keep(new Uint8Array(23_009)); // mark 23009
  }
  return (await Promise.resolve(keep(new Uint8Array(23_011)))).length; // mark 23011
}

async function* generates(): AsyncGenerator<Uint8Array> {
  yield keep(new Uint8Array(23_013)); // mark 23013
  await later(1);
  yield keep(new Uint8Array(23_015)); // mark 23015
  yield* relays();
}
async function* relays(): AsyncGenerator<Uint8Array> {
  for await (const value of [1, Promise.resolve(2)]) {
    yield keep(new Uint8Array(23_015 + 2 * (value > 0 ? 1 : 0))); // mark 23017 x2
  }
}

await awaits();
keep(new Uint8Array(23_019)); // mark 23019
let yielded = 0;
for await (const bytes of generates()) {
  yielded += bytes.length > 0 ? 1 : 0;
  keep(new Uint8Array(23_021)); // mark 23021 x4
}

await new Promise<void>((resolve) => {
  keep(new Uint8Array(23_023)); // mark 23023
  setTimeout(() => {
    keep(new Uint8Array(23_025)); // mark 23025
    resolve();
  }, 1);
});

await new Promise<void>((resolve) => {
  let ticks = 0;
  const timer = setInterval(() => {
    keep(new Uint8Array(23_027)); // mark 23027 x3
    if (++ticks < 3) return;
    clearInterval(timer);
    resolve();
  }, 1);
});

await new Promise<void>((resolve) =>
  setImmediate(() => {
    keep(new Uint8Array(23_029)); // mark 23029
    resolve();
  })
);

await Promise.resolve(1)
  .then(() => keep(new Uint8Array(23_031))) // mark 23031
  .then(() => {
    throw new Error(`${keep(new Uint8Array(23_033)).length}`); // mark 23033
  })
  .catch((error: Error) => keep(new Uint8Array(Number(error.message) + 2))) // mark 23035
  .finally(() => {
    keep(new Uint8Array(23_037)); // mark 23037
  });

await Promise.all([1, 2, 3].map(async (number) => {
  await later(number);
  keep(new Uint8Array(23_039)); // mark 23039 x3
}));

queueMicrotask(() => keep(new Uint8Array(23_041))); // mark 23041
queueMicrotask(() => {
  queueMicrotask(() => {
    keep(new Uint8Array(23_043)); // mark 23043
  });
});
await new Promise<void>((resolve) =>
  process.nextTick(() => {
    keep(new Uint8Array(23_045)); // mark 23045
    resolve();
  })
);

const thenable = {
  then(resolve: (value: number) => void): void {
    resolve(keep(new Uint8Array(23_047)).length); // mark 23047
  },
};
const settled = await thenable;

const target = new EventTarget();
target.addEventListener("event", () => {
  keep(new Uint8Array(23_049)); // mark 23049 x2
});
target.dispatchEvent(new Event("event"));
target.dispatchEvent(new Event("event"));
const emitter = new EventEmitter();
emitter.on("event", (length: number) => keep(new Uint8Array(length))); // mark 23051
emitter.emit("event", 23_051);

const controller = new AbortController();
controller.signal.onabort = () => {
  keep(new Uint8Array(23_053)); // mark 23053
};
controller.abort();

{
  await using resource = {
    async [Symbol.asyncDispose](): Promise<void> {
      await later(1);
      keep(new Uint8Array(23_055)); // mark 23055
    },
  };
  keep(resource);
}

const stream = new ReadableStream<Uint8Array>({
  pull(controller) {
    controller.enqueue(keep(new Uint8Array(23_057))); // mark 23057 x2
    if (++yielded === 6) controller.close();
  },
}, { highWaterMark: 0 });
let read = 0;
for await (const bytes of stream) read += bytes.length;

const { promise, resolve } = Promise.withResolvers<void>();
const channel = new MessageChannel();
channel.port1.onmessage = ({ data }: MessageEvent<number>) => {
  keep(new Uint8Array(data)); // mark 23059
  channel.port1.close();
  resolve();
};
channel.port2.postMessage(23_059);
await promise;

setTimeout(() => {
  keep(new Uint8Array(23_061)); // mark 23061
}, 1);
const beforeTheEnd = () => {
  keep(new Uint8Array(23_063)); // mark 23063 bun:0
};
if ("addEventListener" in globalThis) addEventListener("beforeunload", beforeTheEnd);
else process.once("beforeExit", beforeTheEnd);
console.log("asynchronous", yielded, settled, read);
