import { test } from "node:test";
import "../../mod.ts";
import { laws } from "./laws.ts";

for (const { name, check } of laws) test(name, { timeout: 600_000 }, check);
