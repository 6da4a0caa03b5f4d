/**
 * Python's `tracemalloc` for JavaScript runtimes: which line of the program allocated the memory that is still in use.
 *
 * @module
 */
export {};
