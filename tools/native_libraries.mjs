/** Builds the native libraries of the programs in tests/programs/ with the system's C compiler (`$CC`, or `cc`). */
import { spawnSync } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";
import { env, pid } from "node:process";
import { root } from "./runtimes.mjs";

const sources = `${root}tests/programs/native/`;
const builds = `${root}.build/tests/native/`;

const flags = "-std=c11 -D_GNU_SOURCE -O2 -g -fPIC -shared -Wall -Wextra -Werror".split(" ");

/** By the library's name: its source and what it is built with. */
const libraries = {
  keep: ["keep.c", "-fno-omit-frame-pointer"],
  keep_bare: ["keep.c", "-fomit-frame-pointer"],
  addon: ["addon.c", "-fno-omit-frame-pointer"],
  maps: ["maps.c", "-pthread"],
  mixed: ["mixed.c", "-fno-omit-frame-pointer"],
  thumbnail: ["thumbnail.c", "-fomit-frame-pointer"],
};

/** Builds all of them. Throws an `Error` that says in one line what is wrong and what to do. */
export function buildNativeLibraries() {
  mkdirSync(builds, { recursive: true });
  const compiler = env["CC"] || "cc";
  for (const [name, [source, ...more]] of Object.entries(libraries)) {
    // Whoever builds at the same time makes the same file.
    const unfinished = `${builds}${name}.${pid}.so`;
    const args = [...flags, ...more, "-o", unfinished, sources + source];
    const { status, error, stderr } = spawnSync(compiler, args, { encoding: "utf8" });
    if (error) {
      throw new Error(
        `the C compiler ${compiler} cannot be started (${error.message}): install one, or name it in $CC`,
      );
    }
    if (status !== 0) throw new Error(`the C compiler ${compiler} could not build ${source}: ${stderr}`);
    renameSync(unfinished, `${builds}lib${name}.so`);
  }
}
