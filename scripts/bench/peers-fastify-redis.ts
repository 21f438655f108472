/**
 * The usual way to build such a service, the fast one: Fastify, one HINCRBY an event (bulk: one for each domain and type of
 * a request), Redis with its log synced before each answer. The client sends all commands of a turn of the event loop
 * together, and Redis syncs all that it has read at once. Prints `listening <port>`.
 */
import { createClient } from "@redis/client";
import Fastify from "fastify";
import { classify, DEFAULT_RULE, STATUS_NAMES } from "../../src/model/status.ts";

const client = createClient({ url: process.env["REDIS_URL"] ?? "" });
client.on("error", (error: Error) => {
  throw error;
});
await client.connect();

const app = Fastify({ bodyLimit: 8 * 1024 * 1024 });
app.addContentTypeParser("application/x-ndjson", { parseAs: "string" }, (_request, body, done) => {
  done(null, body);
});

app.put("/events/:domain/:type", async (request, reply) => {
  const { domain, type } = request.params as { domain: string; type: string };
  await client.hIncrBy(domain.toLowerCase(), type, 1);
  return reply.code(204).send();
});

app.post("/events", async (request) => {
  const sums = new Map<string, number>();
  let accepted = 0;
  for (const line of (request.body as string).split("\n")) {
    if (line === "") continue;
    const { domain, type } = JSON.parse(line) as { domain: string; type: string };
    const key = `${type} ${domain.toLowerCase()}`;
    sums.set(key, (sums.get(key) ?? 0) + 1);
    accepted++;
  }
  const increments = [...sums].map(([key, count]) => {
    const [type, domain] = key.split(" ") as [string, string];
    return client.hIncrBy(domain, type, count);
  });
  await Promise.all(increments);
  return { accepted, replayed: 0, rejected: [] };
});

app.post("/domains/lookup", async (request) => {
  const { domains } = request.body as { domains: string[] };
  const names = domains.map((domain) => domain.toLowerCase());
  const counts = names.map((domain) => client.hmGet(domain, ["delivered", "bounced"]));
  const found = await Promise.all(counts);
  const results = names.map((domain, index) => {
    const [delivered = 0, bounced = 0] = (found[index] ?? []).map(Number);
    const status = STATUS_NAMES[classify(DEFAULT_RULE, delivered, bounced)];
    return { domain, delivered, bounced, status };
  });
  return { results };
});

await app.listen({ host: "127.0.0.1", port: 0 });
const { port } = app.server.address() as { port: number };
process.stdout.write(`listening ${port}\n`);
process.once("SIGTERM", () => process.exit(0));
