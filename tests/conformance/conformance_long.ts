import { assert } from "@std/assert";
import { test } from "node:test";
import { conform } from "./conform.ts";

test("500,000 random cases are answered as CPython answers them", () => {
  assert(conform(500_000), "there is no python3");
});
