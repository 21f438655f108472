/**
 * The usual way to build such a service, done well: Fastify, one `$inc` upsert an event (bulk: one bulkWrite a
 * request, folded by domain), acknowledged after majority and journal. Prints `listening <port>`.
 */
import Fastify from "fastify";
import { type AnyBulkWriteOperation, MongoClient } from "mongodb";
import { classify, DEFAULT_RULE, STATUS_NAMES } from "../../src/model/status.ts";

interface Counts {
  readonly _id: string;
  readonly delivered?: number;
  readonly bounced?: number;
}

const POOL_SIZE = 256;
const client = new MongoClient(process.env["MONGO_URL"] ?? "", { maxPoolSize: POOL_SIZE });
const collection = (await client.connect())
  .db("catchall_bench")
  .collection<Counts>("domains", { writeConcern: { w: "majority", journal: true } });
await collection.deleteMany({});

const app = Fastify({ bodyLimit: 8 * 1024 * 1024 });
app.addContentTypeParser("application/x-ndjson", { parseAs: "string" }, (_request, body, done) => {
  done(null, body);
});

app.put("/events/:domain/:type", async (request, reply) => {
  const { domain, type } = request.params as { domain: string; type: "delivered" | "bounced" };
  await collection.updateOne({ _id: domain.toLowerCase() }, incOf(type, 1), { upsert: true });
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
  const writes: AnyBulkWriteOperation<Counts>[] = [...sums].map(([key, count]) => {
    const [type, domain] = key.split(" ") as ["delivered" | "bounced", string];
    return { updateOne: { filter: { _id: domain }, update: incOf(type, count), upsert: true } };
  });
  await collection.bulkWrite(writes, { ordered: false });
  return { accepted, replayed: 0, rejected: [] };
});

app.post("/domains/lookup", async (request) => {
  const { domains } = request.body as { domains: string[] };
  const names = domains.map((domain) => domain.toLowerCase());
  const found = new Map<string, Counts>();
  for await (const counts of collection.find({ _id: { $in: names } })) {
    found.set(counts._id, counts);
  }
  const results = names.map((domain) => {
    const { delivered = 0, bounced = 0 } = found.get(domain) ?? {};
    const status = STATUS_NAMES[classify(DEFAULT_RULE, delivered, bounced)];
    return { domain, delivered, bounced, status };
  });
  return { results };
});

function incOf(type: "delivered" | "bounced", count: number): { $inc: Record<string, number> } {
  return { $inc: { [type === "bounced" ? "bounced" : "delivered"]: count } };
}

await app.listen({ host: "127.0.0.1", port: 0 });
const { port } = app.server.address() as { port: number };
process.stdout.write(`listening ${port}\n`);
process.once("SIGTERM", () => process.exit(0));
