/** A server on loopback: JSON, files and bodies, asked by clients in the same process. */
const store = new Map<number, { id: number; name: string; tags: string[] }>();
const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
  const { pathname, searchParams } = new URL(request.url);
  if (request.method === "POST") {
    const item = await request.json();
    store.set(item.id, item);
    return Response.json({ stored: item.id }, { status: 201 });
  }
  if (pathname === "/file") return new Response(await Deno.readFile(new URL(import.meta.url)));
  if (pathname === "/echo") return new Response(request.body);
  const matching = [...store.values()].filter(({ name }) => name.includes(searchParams.get("q") ?? ""));
  return Response.json(matching.slice(0, 50), { headers: { "x-count": String(matching.length) } });
});
const url = `http://127.0.0.1:${server.addr.port}`;

async function client(number: number): Promise<void> {
  for (let i = 0; i < 150; i++) {
    const id = number * 1000 + i;
    const body = JSON.stringify({ id, name: `item ${id}`, tags: Array.from({ length: 20 }, (_, j) => `tag ${j}`) });
    await (await fetch(url, { method: "POST", body })).json();
    await (await fetch(`${url}/?q=${i % 10}`)).json();
    if (i % 10 === 0) await (await fetch(`${url}/file`)).text();
    if (i % 10 === 5) await (await fetch(`${url}/echo`, { method: "PUT", body: new Uint8Array(50_000) })).bytes();
  }
}

await Promise.all(Array.from({ length: 8 }, (_, i) => client(i)));
await server.shutdown();
console.log("served", store.size);
