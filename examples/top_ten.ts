/** The ten lines that own the most memory. */
import { start, takeSnapshot } from "@x/tracemalloc";
import { Service } from "./service/service.ts";

start();

const service = new Service();

const snapshot = takeSnapshot();
console.log(`${service.photos.length} photos and ${service.clients.length} clients; the ten largest lines:`);
for (const statistic of snapshot.statistics("lineno").slice(0, 10)) console.log(`${statistic}`);
