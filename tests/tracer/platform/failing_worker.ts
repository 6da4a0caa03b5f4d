/** A worker of main.ts: fails at once. */
throw new RangeError("a worker fails");
