import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "@std/path";
import type { LoadOptions } from "../model/codec.ts";
import type { SnapshotColumns, SnapshotMetadata } from "../model/columns.ts";
import { SnapshotFormatError, TracemallocError } from "../model/errors.ts";
import type { SnapshotBatch } from "./decoder.ts";
import { readPickle } from "./pickle.ts";
import { type ReadResult, readSnapshot, type SnapshotReader } from "./reader.ts";
import { type ByteSink, writeSnapshot } from "./writer.ts";

/** Bytes that are read from a file at once. */
const CHUNK = 2 ** 18;

/**
 * Writes a snapshot to a file, which afterwards holds all of it or, where that fails, what it held before.
 *
 * @throws {TracemallocError} Where the file cannot be written; `code` is that of the system, for instance `ENOSPC`.
 * @throws {RangeError} Where the snapshot holds what the format cannot.
 */
export function dumpSnapshot(path: string, columns: SnapshotColumns, metadata: SnapshotMetadata): void {
  replaceFile(path, (sink) => writeSnapshot(columns, metadata, sink));
}

/**
 * Reads a snapshot from a file.
 *
 * @throws {SnapshotFormatError} Where the file is bad, cut, foreign or newer.
 * @throws {TracemallocError} Where the file cannot be read.
 */
export function loadSnapshot(path: string, options: LoadOptions = {}): ReadResult {
  const bytes = readWhole(path);
  try {
    return readSnapshot(bytes, options);
  } catch (error) {
    throw namePath(path, error);
  }
}

/**
 * The batches of a snapshot file, one after the other; memory is bounded by one of them.
 *
 * @throws {SnapshotFormatError} Where the file is bad, cut, foreign or newer.
 * @throws {TracemallocError} Where the file cannot be read.
 */
export function* readFileBatches(path: string, reader: SnapshotReader): Generator<SnapshotBatch, void, undefined> {
  try {
    for (const chunk of readChunks(path)) yield* reader.push(chunk);
    reader.end();
  } catch (error) {
    throw namePath(path, error);
  }
}

/**
 * Reads a snapshot that CPython's `tracemalloc.Snapshot.dump` wrote.
 *
 * @param watch Called now and then with the number of bytes that were read.
 * @throws {SnapshotFormatError} Where the file is cut, or anything else than such a snapshot.
 * @throws {TracemallocError} Where the file cannot be read.
 */
export function loadPickle(path: string, watch: (bytes: number) => void = () => {}): SnapshotColumns {
  function* watched() {
    let length = 0;
    for (const chunk of readChunks(path)) {
      yield chunk;
      watch(length += chunk.length);
    }
  }
  try {
    return readPickle(watched());
  } catch (error) {
    throw namePath(path, error);
  }
}

/** Names the file in an error from what is in it; other errors stay as they are. */
function namePath(path: string, error: unknown): unknown {
  if (!(error instanceof SnapshotFormatError)) return error;
  return new SnapshotFormatError(`${path}: ${error.message}`, error.offset, { cause: error });
}

/**
 * The bytes of a file, piece by piece; each is valid until the next is asked for.
 *
 * @throws {TracemallocError} Where the file cannot be read.
 */
export function* readChunks(path: string): Generator<Uint8Array, void, undefined> {
  const file = attempt("read", path, () => openForReading(path));
  try {
    const buffer = new Uint8Array(CHUNK);
    for (;;) {
      const length = attempt("read", path, () => readSync(file, buffer, 0, CHUNK, null));
      if (length === 0) return;
      yield buffer.subarray(0, length);
    }
  } finally {
    closeSync(file);
  }
}

/**
 * Replaces a file at once by what `write` writes: see {@link openReplacement}.
 *
 * @throws {TracemallocError} Where the file cannot be written. The old one is then as it was.
 */
export function replaceFile(path: string, write: (sink: ByteSink) => void): void {
  const replacement = openReplacement(path);
  try {
    write(replacement);
    replacement.commit();
  } catch (error) {
    replacement.abort();
    throw error;
  }
}

/** The new contents of a file, while they are written. */
export interface Replacement extends ByteSink {
  /** Puts the new contents in the place of the old. */
  commit(): void;
  /** Leaves the old contents as they are, unless the new ones are in their place already. */
  abort(): void;
}

/**
 * Opens a new file beside the old one, to take its place only after the disk has it.
 *
 * The new file can be read by its owner alone, or by whom the old one could be. Only what is no regular file, a
 * pipe for instance, is written to as it is.
 *
 * @throws {TracemallocError} Where the file cannot be written, from every method too.
 */
export function openReplacement(path: string): Replacement {
  const old = attempt("write", path, () => statSync(path, { throwIfNoEntry: false }));
  if (old?.isDirectory()) throw fileError("write", path, "EISDIR", undefined);
  if (old !== undefined && !old.isFile()) return openInPlace(path);
  // Through a symbolic link it is the file behind it that is replaced, not the link.
  const target = old === undefined ? path : attempt("write", path, () => realpathSync(path));
  const folder = dirname(target);
  const temporary = join(folder, `.tracemalloc-${crypto.randomUUID()}.tmp`);
  const { O_CREAT, O_EXCL, O_WRONLY } = constants;
  const file = attempt("write", path, () => openSync(temporary, O_CREAT | O_EXCL | O_WRONLY, 0o600));
  let open = true;
  let present = true;
  const close = () => {
    open = false;
    closeSync(file);
  };
  return {
    ...fileSink(file, path),
    commit() {
      attempt("write", path, () => {
        if (old !== undefined) fchmodSync(file, old.mode & 0o7777);
        fsyncSync(file);
        close();
        renameSync(temporary, target);
        present = false;
        syncFolder(folder);
      });
    },
    abort() {
      if (open) close();
      if (present) unlinkSync(temporary);
    },
  };
}

function openInPlace(path: string): Replacement {
  const file = attempt("write", path, () => openSync(path, constants.O_WRONLY));
  let open = true;
  const close = () => {
    if (open) closeSync(file);
    open = false;
  };
  return { ...fileSink(file, path), commit: close, abort: close };
}

function fileSink(file: number, path: string): ByteSink {
  return {
    write(bytes) {
      for (let at = 0; at < bytes.length;) {
        at += attempt("write", path, () => writeSync(file, bytes, at, bytes.length - at));
      }
    },
  };
}

/** Makes the disk keep the new name too. Some systems and file systems do not offer that for a folder. */
function syncFolder(folder: string): void {
  try {
    const file = openSync(folder, constants.O_RDONLY);
    try {
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (!["EISDIR", "EINVAL", "EACCES", "EPERM", "ENOTSUP"].includes(codeOf(error))) throw error;
  }
}

function readWhole(path: string): Uint8Array {
  const file = attempt("read", path, () => openForReading(path));
  try {
    return attempt("read", path, () => {
      const stats = fstatSync(file);
      // The size is a hint: of a pipe it is 0, and a file can grow or shrink meanwhile.
      let bytes = new Uint8Array(stats.size + 1);
      let length = 0;
      for (;;) {
        const more = readSync(file, bytes, length, bytes.length - length, null);
        if (more === 0) return bytes.subarray(0, length);
        length += more;
        if (length < bytes.length) continue;
        const grown = new Uint8Array(2 * length + CHUNK);
        grown.set(bytes);
        bytes = grown;
      }
    });
  } finally {
    closeSync(file);
  }
}

function openForReading(path: string): number {
  const file = openSync(path, constants.O_RDONLY);
  if (fstatSync(file).isDirectory()) {
    closeSync(file);
    throw fileError("read", path, "EISDIR", undefined);
  }
  return file;
}

/** Runs a system call on a file; its error is told in our words. */
function attempt<T>(action: "read" | "write", path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof TracemallocError) throw error;
    throw fileError(action, path, codeOf(error), error);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

function fileError(action: "read" | "write", path: string, code: string, cause: unknown): TracemallocError {
  const text = `cannot ${action} ${path}: ${explain(action, path, code, cause)}`;
  return new TracemallocError(text, code === "" ? "FILE" : code, { cause });
}

/** What went wrong and what to do. */
function explain(action: "read" | "write", path: string, code: string, cause: unknown): string {
  switch (code) {
    case "ENOENT":
      return action === "read"
        ? "there is no such file; check the path"
        : `the folder ${dirname(path)} does not exist; create it, or give another path`;
    case "ENOTDIR":
      return "a part of the path is a file where a folder is needed; check the path";
    case "EISDIR":
      return "it is a folder; give the path of a file";
    case "EACCES":
    case "EPERM":
      return action === "read"
        ? "permission denied; make it readable for this user"
        : `permission denied; make the folder ${dirname(path)} writable for this user, or give another path`;
    case "ENOSPC":
    case "EDQUOT":
      return "the disk is full; make room, or give a path on another one";
    case "EFBIG":
      return "it would be larger than this process may write; raise the limit (ulimit -f), or give another path";
    case "EROFS":
      return "the file system is read-only; give a path on another one";
    case "ENAMETOOLONG":
      return "the name is too long; give a shorter one";
    default:
      return `${cause instanceof Error ? cause.message : String(cause)}; check the path and the permissions`;
  }
}
