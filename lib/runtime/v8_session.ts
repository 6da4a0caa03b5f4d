/** The session of V8's inspector that this thread has for its own use. */
import inspector from "node:inspector";

let session: inspector.Session | undefined;
let users = 0;

/** Throws what `refused` makes of it where the program may not use the inspector. */
export function openSession(refused: (cause: unknown) => Error): inspector.Session {
  if (!session) {
    const opened = new inspector.Session();
    try {
      opened.connect();
    } catch (cause) {
      throw refused(cause);
    }
    session = opened;
  }
  users++;
  return session;
}

/** As if it had been opened once more. */
export function holdSession(): void {
  users++;
}

/** To be called as often as the others. */
export function closeSession(): void {
  if (--users > 0 || isAttached()) return;
  session?.disconnect();
  session = undefined;
}

/**
 * Can someone from outside be attached, as DevTools? Whenever a session ends, V8 ends what all others record of the heap's
 * growth, and numbers objects anew: then ours stays.
 */
export function isAttached(): boolean {
  return inspector.url() !== undefined;
}
