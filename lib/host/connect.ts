/**
 * Gives the model, which is pure, what it needs of the world outside: files for source lines, and the format and files
 * for snapshots. Importing this is enough; `mod.ts` does.
 *
 * @module
 */
import { fromFileUrl } from "@std/path";
import { dumpSnapshot, loadSnapshot } from "../format/file.ts";
import { readSnapshotStream } from "../format/reader.ts";
import { writeSnapshot } from "../format/writer.ts";
import { useCodec } from "../model/codec.ts";
import { useSourceFiles } from "../model/source_lines.ts";
import { sourceFiles } from "./source_files.ts";

useSourceFiles(sourceFiles);

useCodec({
  dump(path, { columns, metadata }) {
    dumpSnapshot(toPath(path), columns, metadata);
  },
  load(path, options) {
    return loadSnapshot(toPath(path), options);
  },
  toStream({ columns, metadata }) {
    return new ReadableStream({
      pull(controller) {
        // The bytes are few beside the columns, and must be written from columns in one go.
        writeSnapshot(columns, metadata, { write: (bytes) => controller.enqueue(bytes.slice()) });
        controller.close();
      },
    });
  },
  fromStream(stream, options) {
    return readSnapshotStream(stream, options);
  },
});

function toPath(path: unknown): string {
  if (path instanceof URL) return fromFileUrl(path);
  if (typeof path !== "string") throw new TypeError("path must be a string or a file: URL");
  return path;
}
