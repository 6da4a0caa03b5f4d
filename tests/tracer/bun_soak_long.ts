/** bun_soak_test.ts, ten minutes of each. */
import process from "node:process";

process.env["SOAK_MINUTES"] ??= "10";
await import("./bun_soak_test.ts");
