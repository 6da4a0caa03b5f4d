/** What separates the parts of a path on this system. */
export declare const SEPARATOR: "/" | "\\";
/** The last part of a path, without `suffix` where it ends so. */
export declare function basename(path: string | URL, suffix?: string): string;
/** A path without its last part. */
export declare function dirname(path: string | URL): string;
/** The extension of a path with its dot, or an empty text. */
export declare function extname(path: string | URL): string;
/** The path that a `file:` URL stands for. */
export declare function fromFileUrl(url: string | URL): string;
/** Whether a path starts at the root. */
export declare function isAbsolute(path: string): boolean;
/** Parts joined to one normalized path. */
export declare function join(path: string | URL, ...paths: string[]): string;
/** A path without `.`, `..` and doubled separators. */
export declare function normalize(path: string | URL): string;
/** The path that leads from one path to another. */
export declare function relative(from: string, to: string): string;
/** Parts resolved against the working directory to an absolute path. */
export declare function resolve(...pathSegments: string[]): string;
/** The `file:` URL of an absolute path. */
export declare function toFileUrl(path: string): URL;
