/** A small shop with three leaks, each of objects in the engine's heap. `server.ts FOLDER` */
import { takeSnapshot } from "@x/tracemalloc";
import { EventEmitter } from "node:events";
import { Hono } from "hono";

interface Visit {
  readonly path: string;
  readonly at: Date;
  readonly headers: Record<string, string>;
}

const stock = new EventEmitter();
stock.setMaxListeners(0);
const searches = new Map<string, string[]>();
const goods = Array.from({ length: 200 }, (_, i) => `article ${i}`);

const app = new Hono();

app.get("/search", (context) => {
  const words = context.req.query("q") ?? "";
  let found = searches.get(words);
  if (!found) {
    found = goods.filter((name) => name.includes(words.slice(0, 1)));
    searches.set(words, found); // never forgotten
  }
  return context.json(found.length);
});

app.get("/watch/:article", (context) => {
  const article = context.req.param("article");
  stock.on("change", (changed) => changed === article && console.log(article)); // never taken off
  return context.text("watched");
});

app.get("/visit", (context) => {
  const visit: Visit = { path: context.req.path, at: new Date(), headers: context.req.header() };
  setInterval(() => visit.at.getTime(), 3_600_000); // never cleared
  return context.text("welcome");
});

// What is well: it dies with the request.
app.get("/", (context) => context.json(goods.map((name, i) => ({ name, price: i * 100 }))));

// For whoever looks after the shop; a real one would ask who that is.
app.post("/snapshot/:name{[a-z]+}", (context) => {
  takeSnapshot({ gc: true }).dump(`${Deno.args[0]}/${context.req.param("name")}.snapshot`);
  return context.text("taken");
});

Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: ({ port }) => console.log(`http://127.0.0.1:${port}`) },
  app.fetch,
);
