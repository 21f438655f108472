/**
 * The usual way to build such a service, the fast one: Fastify, one HINCRBY an event (bulk: one for each domain and type of
 * a request), Redis with its log synced before each answer. The client sends all commands of a turn of the event loop
 * together, and Redis syncs all that it has read at once.
 */
import { createClient } from "@redis/client";
import { servePeer } from "./peers-fastify.ts";

const client = createClient({ url: process.env["REDIS_URL"] ?? "" });
client.on("error", (error: Error) => {
  throw error;
});
await client.connect();

await servePeer({
  add: (domain, type) => client.hIncrBy(domain, type, 1),
  addAll: (sums) =>
    Promise.all(sums.map(({ domain, type, count }) => client.hIncrBy(domain, type, count))),
  counts: async (domains) => {
    const found = await Promise.all(
      domains.map((domain) => client.hmGet(domain, ["delivered", "bounced"])),
    );
    return found.map((values) => {
      const [delivered = 0, bounced = 0] = values.map(Number);
      return { delivered, bounced };
    });
  },
});
