/** `program.mjs NAME WAY`: prints the milliseconds of processor time that a program takes, traced that way. */
const [name, way] = process.argv.slice(2);
let done = 0;

const programs = {
  /** Strings that are built, changed and dropped; a thousand are alive. */
  strings() {
    const kept = [];
    for (let i = 0; i < 400_000; i++) {
      const text = ("abc" + i).toUpperCase();
      done += text.length;
      kept[i & 1023] = text;
    }
  },
  /** Buffers of 1 KiB, of which 256 are alive. */
  buffers() {
    const kept = [];
    for (let i = 0; i < 300_000; i++) {
      const buffer = Buffer.alloc(1024);
      buffer[i & 1023] = 1;
      kept[i & 255] = buffer;
      done += buffer.length;
    }
  },
  json() {
    const value = { a: 1, b: ["x", "y", { c: "zzz".repeat(20) }], d: "q".repeat(100) };
    for (let i = 0; i < 60_000; i++) done += JSON.stringify(JSON.parse(JSON.stringify(value))).length;
  },
  objects() {
    const kept = [];
    for (let i = 0; i < 5_000_000; i++) kept[i & 4095] = { a: i, b: [i] };
    done += kept.length;
  },
  /** 6,000 requests, 16 at a time, over the loopback. */
  async server() {
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      async fetch(request) {
        const { name } = await request.json();
        return Response.json({ hello: name, list: Array.from({ length: 20 }, (_, i) => ({ i, text: `item ${i}` })) });
      },
    });
    const client = async (from) => {
      for (let i = from; i < 6000; i += 16) {
        const response = await fetch(server.url, { method: "POST", body: JSON.stringify({ name: `client ${i}` }) });
        done += (await response.json()).list.length;
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, i) => client(i)));
    server.stop(true);
  },
};

const run = programs[name];
await run();
if (way !== "untraced") {
  const { start } = await import("../../mod.ts");
  const kib = /^(\d+) KiB/.exec(way)?.[1];
  start(way === "25 frames" ? 25 : 1, kib ? { sampleBytes: Number(kib) * 1024 } : {});
  await run();
}
const begin = process.cpuUsage();
await run();
const { user, system } = process.cpuUsage(begin);
console.log((user + system) / 1000);
process.exit(done > 0 ? 0 : 1);
