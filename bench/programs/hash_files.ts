/** Hashes files, whole and in pieces. */
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, readFileSync } from "node:fs";

const root = new URL("../../lib/", import.meta.url);
const files: URL[] = [];
const folders = [root];
for (let folder = folders.pop(); folder; folder = folders.pop()) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) folders.push(new URL(`${entry.name}/`, folder));
    else files.push(new URL(entry.name, folder));
  }
}

const digests = new Map<string, string>();
for (let round = 0; round < 20; round++) {
  for (const file of files) {
    digests.set(`sync ${file}`, createHash("sha256").update(readFileSync(file)).digest("hex"));
    const bytes = await Deno.readFile(file);
    digests.set(`web ${file}`, new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex());
    if (round > 0) continue;
    const hash = createHash("sha512");
    for await (const chunk of createReadStream(file, { highWaterMark: 4096 })) hash.update(chunk);
    digests.set(`stream ${file}`, hash.digest("base64"));
  }
}
console.log("hashed", digests.size);
