/**
 * The upper bound of the benchmark: uWebSockets.js that adds to a Map and answers, with nothing durable.
 * Started as a child process; prints `listening <port>`. Counts are exact while it lives, so that even this run is
 * verified: `POST /domains/lookup` and `GET /domains/{domain}` answer as the product does.
 */
import { App, type HttpResponse, us_socket_local_port } from "uWebSockets.js";
import { classify, DEFAULT_RULE, STATUS_NAMES } from "../../src/model/status.ts";

interface Counts {
  delivered: number;
  bounced: number;
}

const table = new Map<string, Counts>();
const NONE: Counts = { delivered: 0, bounced: 0 };
const TIME = `"${new Date(0).toISOString()}"`;

function increment(domain: string, type: string): void {
  const name = domain.toLowerCase();
  let counts = table.get(name);
  if (counts === undefined) {
    counts = { delivered: 0, bounced: 0 };
    table.set(name, counts);
  }
  if (type === "bounced") counts.bounced++;
  else counts.delivered++;
}

/** As long as the answer of the product; the times are constants. */
function statusOf(domain: string): string {
  const name = domain.toLowerCase();
  const { delivered, bounced } = table.get(name) ?? NONE;
  const { deliveredThreshold } = DEFAULT_RULE;
  const status = STATUS_NAMES[classify(DEFAULT_RULE, delivered, bounced)];
  const sign = delivered > deliveredThreshold ? ">" : "<=";
  return (
    `{"domain":"${name}","status":"${status}",` +
    `"reason":"delivered ${delivered} ${sign} ${deliveredThreshold}, bounced ${bounced}",` +
    `"delivered":${delivered},"bounced":${bounced},"threshold":${deliveredThreshold},` +
    `"firstSeen":${TIME},"lastSeen":${TIME},"statusSince":${TIME},"overridden":false,` +
    `"node":"n1","asOf":${TIME}}`
  );
}

function readBody(res: HttpResponse, onBody: (body: Buffer) => void): void {
  let body: Buffer | null = null;
  res.onAborted(() => undefined);
  res.onData((chunk, isLast) => {
    if (isLast && body === null) return onBody(Buffer.from(chunk));
    body = body === null ? Buffer.from(chunk.slice(0)) : Buffer.concat([body, Buffer.from(chunk)]);
    if (isLast) onBody(body);
  });
}

function onBulk(body: Buffer): string {
  let accepted = 0;
  for (const line of body.toString("utf8").split("\n")) {
    if (line === "") continue;
    const event = JSON.parse(line) as { domain: string; type: string };
    increment(event.domain, event.type);
    accepted++;
  }
  return JSON.stringify({ accepted, replayed: 0, rejected: [] });
}

function onLookup(body: Buffer): string {
  const { domains } = JSON.parse(body.toString("utf8")) as { domains: string[] };
  const results = domains.map((domain) => {
    const { delivered, bounced } = table.get(domain.toLowerCase()) ?? NONE;
    return {
      domain,
      delivered,
      bounced,
      status: STATUS_NAMES[classify(DEFAULT_RULE, delivered, bounced)],
    };
  });
  return JSON.stringify({ results });
}

const json = (res: HttpResponse, text: string): void => {
  res.cork(() => res.writeHeader("Content-Type", "application/json").end(text));
};

App()
  .put("/events/:domain/:type", (res, req) => {
    increment(req.getParameter(0) ?? "", req.getParameter(1) ?? "");
    res.writeStatus("204 No Content").endWithoutBody();
  })
  .get("/domains/:domain", (res, req) => json(res, statusOf(req.getParameter(0) ?? "")))
  .post("/events", (res) => readBody(res, (body) => json(res, onBulk(body))))
  .post("/domains/lookup", (res) => readBody(res, (body) => json(res, onLookup(body))))
  .any("/*", (res) => {
    res.writeStatus("404 Not Found").end();
  })
  .listen("127.0.0.1", Number(process.env["PORT"] ?? 0), (socket) => {
    if (socket === false) throw new Error("Cannot listen");
    process.stdout.write(`listening ${us_socket_local_port(socket)}\n`);
  });
