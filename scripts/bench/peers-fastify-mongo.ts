/**
 * The usual way to build such a service, done well: Fastify, one `$inc` upsert an event (bulk: one bulkWrite a
 * request, folded by domain), acknowledged after majority and journal.
 */
import { MongoClient } from "mongodb";
import { type PeerCounts, type PeerEventType, servePeer } from "./peers-fastify.ts";

interface Counts extends Partial<PeerCounts> {
  readonly _id: string;
}

const POOL_SIZE = 256;
const client = new MongoClient(process.env["MONGO_URL"] ?? "", { maxPoolSize: POOL_SIZE });
const collection = (await client.connect())
  .db("catchall_bench")
  .collection<Counts>("domains", { writeConcern: { w: "majority", journal: true } });
await collection.deleteMany({});

await servePeer({
  add: (domain, type) => collection.updateOne({ _id: domain }, incOf(type, 1), { upsert: true }),
  addAll: (sums) => {
    const writes = sums.map(({ domain, type, count }) => ({
      updateOne: { filter: { _id: domain }, update: incOf(type, count), upsert: true },
    }));
    return collection.bulkWrite(writes, { ordered: false });
  },
  counts: async (domains) => {
    const found = new Map<string, Counts>();
    for await (const counts of collection.find({ _id: { $in: [...domains] } })) {
      found.set(counts._id, counts);
    }
    return domains.map((domain) => {
      const { delivered = 0, bounced = 0 } = found.get(domain) ?? {};
      return { delivered, bounced };
    });
  },
});

function incOf(type: PeerEventType, count: number): { $inc: Record<string, number> } {
  return { $inc: { [type === "bounced" ? "bounced" : "delivered"]: count } };
}
