/** What the peers have in common: Fastify with our routes in front of a store. Prints `listening <port>`. */
import Fastify from "fastify";
import { classify, DEFAULT_RULE, STATUS_NAMES } from "../../src/model/status.ts";

export type PeerEventType = "delivered" | "bounced";

export interface PeerCounts {
  readonly delivered: number;
  readonly bounced: number;
}

/** Each promise settles when the store says that it is durable. */
export interface PeerStore {
  add(domain: string, type: PeerEventType): Promise<unknown>;
  /** The events of one request, folded by domain and type. */
  addAll(sums: readonly PeerSum[]): Promise<unknown>;
  /** In the order of `domains`. */
  counts(domains: readonly string[]): Promise<readonly PeerCounts[]>;
}

export interface PeerSum {
  readonly domain: string;
  readonly type: PeerEventType;
  readonly count: number;
}

export async function servePeer(store: PeerStore): Promise<void> {
  const app = Fastify({ bodyLimit: 8 * 1024 * 1024 });
  app.addContentTypeParser(
    "application/x-ndjson",
    { parseAs: "string" },
    (_request, body, done) => {
      done(null, body);
    },
  );
  app.put("/events/:domain/:type", async (request, reply) => {
    const { domain, type } = request.params as { domain: string; type: PeerEventType };
    await store.add(domain.toLowerCase(), type);
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
    const folded = [...sums].map(([key, count]) => {
      const [type, domain] = key.split(" ") as [PeerEventType, string];
      return { domain, type, count };
    });
    await store.addAll(folded);
    return { accepted, replayed: 0, rejected: [] };
  });
  app.post("/domains/lookup", async (request) => {
    const { domains } = request.body as { domains: string[] };
    const names = domains.map((domain) => domain.toLowerCase());
    const found = await store.counts(names);
    const results = names.map((domain, index) => {
      const { delivered, bounced } = found[index] as PeerCounts;
      const status = STATUS_NAMES[classify(DEFAULT_RULE, delivered, bounced)];
      return { domain, delivered, bounced, status };
    });
    return { results };
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as { port: number };
  process.stdout.write(`listening ${port}\n`);
  process.once("SIGTERM", () => process.exit(0));
}
