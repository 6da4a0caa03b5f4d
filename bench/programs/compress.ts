/** Images are made, filtered, compressed as PNG does it, and read again: zlib at once, in streams, and the web's streams. */
import { promisify } from "node:util";
import { crc32, createGzip, deflate, deflateSync, gunzipSync, inflateSync } from "node:zlib";

const width = 320, height = 200;

function render(seed: number): Uint8Array {
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < pixels.length; i++) pixels[i] = (i * seed) ^ (i >> 7);
  return pixels;
}

function blur(pixels: Uint8Array): Uint8Array {
  const result = new Uint8Array(pixels.length);
  for (let i = 3; i < pixels.length - 3; i++) result[i] = (pixels[i - 3]! + 2 * pixels[i]! + pixels[i + 3]!) >> 2;
  return result;
}

function scanlines(pixels: Uint8Array): Uint8Array {
  const rows = Array.from({ length: height }, (_, y) => pixels.subarray(y * width * 3, (y + 1) * width * 3));
  const result = new Uint8Array(height * (width * 3 + 1));
  rows.forEach((row, y) => result.set(row, y * (width * 3 + 1) + 1));
  return result;
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const result = new Uint8Array(12 + data.length), view = new DataView(result.buffer);
  view.setUint32(0, data.length);
  new TextEncoder().encodeInto(type, result.subarray(4));
  result.set(data, 8);
  view.setUint32(8 + data.length, crc32(result.subarray(4, 8 + data.length)));
  return result;
}

const deflateLater = promisify(deflate);
let bytes = 0;
for (let image = 0; image < 30; image++) {
  const lines = scanlines(blur(render(image)));
  const png = [chunk("IDAT", deflateSync(lines)), chunk("IEND", new Uint8Array(0))];
  bytes += inflateSync(png[0]!.subarray(8, -4)).length;
  bytes += (await deflateLater(lines) as Uint8Array).length;
  const gzip = createGzip(), parts: Uint8Array[] = [];
  gzip.on("data", (part: Uint8Array) => parts.push(part));
  const ended = new Promise((resolve) => gzip.on("end", resolve));
  gzip.end(lines);
  await ended;
  bytes +=
    gunzipSync(parts.length === 1 ? parts[0]! : new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()))
      .length;
  const stream = new Blob([lines as BlobPart]).stream().pipeThrough(new CompressionStream("gzip"));
  bytes += (await new Response(stream).bytes()).length;
}
console.log("compressed", bytes);
