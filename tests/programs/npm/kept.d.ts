export const loaded: Uint8Array;
export const both: unknown;
export const Pool: { (size: number): unknown; new (size: number): object };
export const Cache: new () => { entries: object; add(name: string): Uint8Array };
export function callback(length: number, done: (error: unknown, bytes: Uint8Array) => void): void;
export function late(): new () => unknown;
