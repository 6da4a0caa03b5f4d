/**
 * A small image service that leaks: nothing of it is seen in the JavaScript heap. It answers 1,200 requests that it makes
 * itself, and ends.
 */
import { createDeflate, type Deflate } from "node:zlib";

interface Image {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array<ArrayBuffer>;
}

const { symbols: native } = Deno.dlopen(new URL("../../.build/tests/native/libthumbnail.so", import.meta.url), {
  thumbnail_open: { parameters: ["buffer", "u32", "u32", "u32"], result: "pointer" },
  thumbnail_contrast: { parameters: ["pointer"], result: "u32" },
  thumbnail_close: { parameters: ["pointer"], result: "void" },
});

class ImageCache {
  readonly #images = new Map<string, Image>();

  /** Leak 1: the key contains the token of the session, so that hardly anything is found, and nothing is ever evicted. */
  get(url: URL): Image {
    const found = this.#images.get(url.href);
    if (found) return found;
    const image = render(url.pathname, 96, 96);
    this.#images.set(url.href, image);
    return image;
  }

  get size(): number {
    return this.#images.size;
  }
}

function render(name: string, width: number, height: number): Image {
  const pixels = new Uint8Array(width * height * 4); // owns 43794432
  const blank = name.startsWith("/images/blank");
  for (let i = 0; i < pixels.length; i++) pixels[i] = blank ? 255 : i * name.length;
  return { width, height, pixels };
}

class Session {
  /** Leak 2: a compressor for each session, which is never closed. */
  readonly compressor: Deflate = createDeflate({ level: 9 }); // owns 62914560
  requests = 0;
}

const cache = new ImageCache();
const sessions = new Map<string, Session>();

function sessionOf(token: string): Session {
  let session = sessions.get(token);
  if (!session) sessions.set(token, session = new Session());
  session.requests += 1;
  return session;
}

/** Leak 3: a thumbnail without contrast is not closed. */
function hasThumbnail({ pixels }: Image): boolean {
  const thumbnail = native.thumbnail_open(pixels, pixels.length, 128, 128); // owns 25952256
  if (native.thumbnail_contrast(thumbnail) === 0) return false;
  native.thumbnail_close(thumbnail);
  return true;
}

async function handle(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const token = url.searchParams.get("session");
  if (token === null) return new Response("who are you?", { status: 401 });
  const session = sessionOf(token);
  const image = cache.get(url);
  await Promise.resolve();
  if (!hasThumbnail(image)) return new Response("nothing to see", { status: 404 });
  return Response.json({ width: image.width, height: image.height, requests: session.requests });
}

const statuses = new Map<number, number>();
for (let i = 0; i < 1200; i++) {
  const name = i % 3 === 0 ? `blank-${i % 7}` : `photo-${i % 11}`;
  const query = i % 100 === 0 ? "" : `?session=${i % 60}-${Math.floor(i / 300)}`;
  const { status } = await handle(new Request(`http://localhost/images/${name}.png${query}`));
  statuses.set(status, (statuses.get(status) ?? 0) + 1);
}
console.log(`served ${[...statuses].map(([status, times]) => `${status}: ${times}`).join(", ")}`);
console.log(`${cache.size} images in the cache, ${sessions.size} sessions`);
