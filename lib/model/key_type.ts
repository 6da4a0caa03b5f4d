/** What traces are grouped by: the file of the most recent frame, its line, or all frames. */
export type KeyType = "filename" | "lineno" | "traceback";
