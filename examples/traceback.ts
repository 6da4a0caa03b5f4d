/** How the program came to allocate the memory of which there is most. */
import { start, takeSnapshot } from "@x/tracemalloc";
import { Service } from "./service/service.ts";

start(25); // keeps up to 25 frames of every traceback, not one

const service = new Service();

const [largest] = takeSnapshot().statistics("traceback");
if (!largest) throw new Error("nothing was allocated");
console.log(`${(largest.size / 2 ** 20).toFixed(1)} MiB for ${service.photos.length} photos, allocated here:`);
for (const line of largest.traceback.format()) console.log(line);
