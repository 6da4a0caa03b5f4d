/** Who is connected, and what is kept for each of them. */
import { createHmac, type Hmac, randomBytes } from "node:crypto";
import { createDeflate, type Deflate } from "node:zlib";

/** One connection. */
export class Client {
  readonly compressor: Deflate = createDeflate({ level: 9 });
  readonly inbox: Uint8Array<ArrayBuffer> = new Uint8Array(335_133);
  readonly pad: Uint8Array = randomBytes(262_147);
  readonly signatures: Hmac[] = [];

  /** Begins to sign a message, of which more will come. */
  sign(firstPart: string): void {
    this.signatures.push(createHmac("sha512", this.pad.subarray(0, 64)).update(firstPart));
  }
}

/** Connects clients, each of which begins some messages. */
export function connect(count: number): Client[] {
  return Array.from({ length: count }, () => {
    const client = new Client();
    for (let i = 0; i < 75; i++) client.sign(`message ${i}: `);
    return client;
  });
}
