/** Pages, as they are sent. */

const encoder = new TextEncoder();

/** Makes a page that shows many photos. */
export function renderPage(): Uint8Array<ArrayBuffer> {
  return encoder.encode("<img>".repeat(100_201));
}
