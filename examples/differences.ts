/** What grew, and what shrank, between two snapshots. */
import { start, takeSnapshot } from "@x/tracemalloc";
import { Service } from "./service/service.ts";

start();
const service = new Service();
const before = takeSnapshot();

service.serve(); // forgets to let go of what it used
service.catalog.close(); // gives memory back

const after = takeSnapshot();
console.log("The ten lines that changed most:");
for (const difference of after.compareTo(before, "lineno").slice(0, 10)) console.log(`${difference}`);
