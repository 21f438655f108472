/**
 * A tiny node with the product's routes for events and lookups, for tests of the load tool and of the kill harness.
 * With a file it survives SIGKILL: each event is a line written before the answer. Its defects are seeded on purpose:
 * they must be found by whoever checks it.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { classify, DEFAULT_RULE, STATUS_NAMES } from "../../src/model/status.ts";

/**
 * `lose`: each 500th event is acknowledged and not counted. `double`: counted twice. `forget-keys`: a key counts each
 * time. `late-write`: written some time after the answer. `wrong-status`: every status is "unknown". `late-rewrite`: a start
 * empties the file, and writes it again only some time later.
 */
export type ToyDefect =
  | "lose"
  | "double"
  | "forget-keys"
  | "late-write"
  | "late-rewrite"
  | "wrong-status";

export interface ToyNodeOptions {
  readonly port?: number;
  readonly file?: string;
  readonly defect?: ToyDefect;
  /** May answer in its own way; true: it did. Called with the number of the request, from 1. */
  readonly intercept?: (request: number, req: IncomingMessage, res: ServerResponse) => boolean;
}

const DEFECT_EVERY = 500;
const LATE_WRITE_MS = 200;
const LATE_REWRITE_MS = 3000;

export class ToyNode {
  readonly counts: Map<string, { delivered: number; bounced: number }> = new Map();
  readonly #keys = new Set<string>();
  readonly #options: ToyNodeOptions;
  readonly #server: Server;
  #requests = 0;
  #events = 0;

  private constructor(options: ToyNodeOptions) {
    this.#options = options;
    this.#server = createServer({ keepAlive: true }, (req, res) => this.#serve(req, res));
    this.#server.keepAliveTimeout = 60_000;
    const { file } = options;
    if (file === undefined || !existsSync(file)) return;
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const [domain, type, key] = line.split(" ");
      if (key !== undefined) this.#apply(domain as string, type as string, key);
    }
  }

  static async start(options: ToyNodeOptions = {}): Promise<ToyNode> {
    const node = new ToyNode(options);
    if (options.defect === "late-rewrite") await rewriteLate(options.file);
    await new Promise<void>((resolve) => {
      node.#server.listen(options.port ?? 0, "127.0.0.1", resolve);
    });
    return node;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Counts an event as a request would; false for a key seen before. */
  count(domain: string, type: string, key: string): boolean {
    this.#events++;
    const { defect, file } = this.#options;
    const isHit = this.#events % DEFECT_EVERY === 0;
    if (defect === "lose" && isHit) return true;
    const name = domain.toLowerCase();
    const isNew = this.#apply(name, type, key);
    if (!isNew) return false;
    if (defect === "double" && isHit) this.#apply(name, type, "");
    if (file !== undefined) {
      const line = `${name} ${type} ${key}\n`;
      if (defect === "late-write") setTimeout(() => appendFileSync(file, line), LATE_WRITE_MS);
      else appendFileSync(file, line);
    }
    return true;
  }

  #apply(name: string, type: string, key: string): boolean {
    if (key !== "" && this.#options.defect !== "forget-keys") {
      if (this.#keys.has(`${name} ${key}`)) return false;
      this.#keys.add(`${name} ${key}`);
    }
    const counts = this.counts.get(name) ?? { delivered: 0, bounced: 0 };
    if (type === "bounced") counts.bounced++;
    else counts.delivered++;
    this.counts.set(name, counts);
    return true;
  }

  #serve(req: IncomingMessage, res: ServerResponse): void {
    const path = req.url ?? "";
    if (path === "/readyz" || path === "/healthz") return void res.writeHead(200).end();
    const chunks: Buffer[] = [];
    req.on("data", (chunk: Buffer) => chunks.push(chunk));
    req.on("end", () => {
      const body = Buffer.concat(chunks).toString("utf8");
      if (path === "/domains/lookup") return this.#lookup(body, res);
      this.#requests++;
      if (this.#options.intercept?.(this.#requests, req, res) === true) return;
      if (path === "/events") return this.#bulk(body, res);
      const [, root, domain, type] = path.split("/");
      if (root === "domains" && req.method === "GET") {
        return this.#json(res, this.#answerOf(String(domain)));
      }
      if (root !== "events" || domain === undefined || type === undefined) {
        return void res.writeHead(404).end();
      }
      const isNew = this.count(domain, type, String(req.headers["idempotency-key"] ?? ""));
      res.writeHead(204, isNew ? {} : { "Idempotency-Replayed": "true" }).end();
    });
  }

  #bulk(body: string, res: ServerResponse): void {
    let accepted = 0;
    let replayed = 0;
    for (const line of body.split("\n")) {
      if (line === "") continue;
      const { domain, type, id } = JSON.parse(line) as Record<string, string>;
      if (!this.count(String(domain), String(type), id ?? "")) replayed++;
      accepted++;
    }
    this.#json(res, { accepted, replayed, rejected: [] });
  }

  #lookup(body: string, res: ServerResponse): void {
    const { domains } = JSON.parse(body) as { domains: string[] };
    this.#json(res, { results: domains.map((domain) => this.#answerOf(domain)) });
  }

  #answerOf(domain: string): unknown {
    const name = domain.toLowerCase();
    const { delivered, bounced } = this.counts.get(name) ?? { delivered: 0, bounced: 0 };
    const code = classify(DEFAULT_RULE, delivered, bounced);
    const status = this.#options.defect === "wrong-status" ? "unknown" : STATUS_NAMES[code];
    return { domain: name, status, delivered, bounced };
  }

  #json(res: ServerResponse, value: unknown): void {
    const text = JSON.stringify(value);
    res.writeHead(200, { "Content-Type": "application/json", "Content-Length": text.length });
    res.end(text);
  }
}

async function rewriteLate(file: string | undefined): Promise<void> {
  if (file === undefined || !existsSync(file)) return;
  const lines = readFileSync(file);
  writeFileSync(file, "");
  await new Promise((resolve) => setTimeout(resolve, LATE_REWRITE_MS));
  writeFileSync(file, lines);
}
