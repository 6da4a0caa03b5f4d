/** What browser_test.ts bundles: it tests the laws and leaves the result in the page, where there is one. */
import { readSnapshotStream } from "../../lib/format/reader.ts";
import { snapshotBytes } from "../../lib/format/writer.ts";
import { useCodec } from "../../lib/model/codec.ts";
import { UnsupportedError } from "../../lib/model/errors.ts";
import { laws } from "../laws/laws.ts";

useCodec({
  dump: noFiles,
  load: noFiles,
  toStream: ({ columns, metadata }) =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(snapshotBytes(columns, metadata));
        controller.close();
      },
    }),
  fromStream: (stream) => readSnapshotStream(stream),
});

function noFiles(): never {
  throw new UnsupportedError("a browser has no files");
}

/** The page. */
declare const document: { readonly body: { textContent: string } };

async function main(): Promise<void> {
  const results: string[] = [];
  for (const { name, check } of laws) {
    try {
      await check();
      results.push(`ok ${name}`);
    } catch (error) {
      results.push(`FAILED ${name}: ${error}`);
    }
  }
  results.push(`${laws.length} laws tested`);
  document.body.textContent = results.join("\n");
}

main();
