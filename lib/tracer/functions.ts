/** Names the functions of the engine's own profile of its heap. */
import type { Engine, OriginalPosition, ProfiledRow, ScriptText } from "../runtime/backend.ts";
import { filenameOf, isCalibration, type NamedFrame, type NamedRow } from "./naming.ts";

const ownModules = new URL("../", import.meta.url).href;

/** Of the tracer: its modules, and the scripts that it calibrates with. */
function isOwn(url: string): boolean {
  return url.startsWith(ownModules) || isCalibration(url);
}

/** Of the runtime or of the tracer. */
function isInternal(url: string): boolean {
  return isOwn(url) || /^(?:ext|node|internal|checkin):/.test(url);
}

type Place = ProfiledRow["frames"][number];

/** A profile does not say which text its scripts have. */
const noText: ScriptText = { length: 0, hash: 0 };

/**
 * As everywhere else, frames of the runtime's own code are left out where the program has one, `limit` are kept, and what
 * the tracer itself made is not there.
 */
export function nameProfile(
  all: readonly ProfiledRow[],
  limit: number,
  originalPositions: Engine["originalPositions"],
): NamedRow[] {
  const names = new Map<string, NamedFrame>();
  const rows = all.filter(({ frames }) => !isOwn(frames.at(-1)?.url ?? ""));
  const shown = rows.map(({ frames }) => {
    const own = frames.filter(({ url }) => !isInternal(url));
    return own.length > 0 ? own : frames;
  });
  const places = new Map<string, Map<string, Place>>();
  for (const place of shown.flat()) {
    const ofScript = places.get(place.url) ?? new Map<string, Place>();
    places.set(place.url, ofScript.set(keyOf(place), place));
  }
  for (const [url, ofScript] of places) {
    const ordered = [...ofScript.values()];
    const originals: readonly (OriginalPosition | undefined)[] = isInternal(url) || url === ""
      ? []
      : originalPositions(url, ordered, undefined, noText);
    ordered.forEach((place, i) => {
      const { url: original, line } = originals[i] ?? place;
      names.set(keyOf(place), { filename: original === "" ? "<eval>" : filenameOf(original), lineno: line });
    });
  }
  return rows.map(({ size, count }, i) => {
    const frames = shown[i]!.map((place) => names.get(keyOf(place))!);
    if (frames.length === 0) frames.push({ filename: "<unknown>", lineno: 0 });
    return { frames: frames.slice(-limit), total: frames.length, size, count };
  });
}

function keyOf({ url, line, column }: Place): string {
  return `${url}:${line}:${column}`;
}
