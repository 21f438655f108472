/**
 * A script of requests drawn from a seed, of everything that clients and operators ask: it means the same to any node
 * that knows nothing yet. Few domains and few keys, so that requests meet; thresholds are crossed often.
 * Invariant: nothing in a request depends on an answer.
 */
import { SimRandom } from "../../src/simulation/sim-random.ts";

export interface ScriptRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const DOMAINS = 24;
const KEYS = 10;
const JSON_BODY = { "content-type": "application/json" };
const NDJSON_BODY = { "content-type": "application/x-ndjson" };
/** Every so many requests one of the bad ones, each in its turn. */
const BAD_EVERY = 5;
/** Refused, or about what is not there. */
const BAD_REQUESTS: readonly ScriptRequest[] = [
  { method: "PUT", path: "/events/127.0.0.1/bounced" },
  { method: "PUT", path: "/events/[::1]/bounced" },
  { method: "PUT", path: "/events/single/delivered" },
  { method: "PUT", path: "/events/-a.example/delivered" },
  { method: "PUT", path: "/events/%FF.example/delivered" },
  { method: "PUT", path: "/events/xn--a.example/delivered" },
  { method: "PUT", path: `/events/${"a".repeat(64)}.example/bounced` },
  { method: "PUT", path: "/events/a.example/opened" },
  { method: "PUT", path: "/events/a.example/bounced", headers: { "idempotency-key": "a b" } },
  { method: "DELETE", path: "/events/a.example/bounced" },
  { method: "GET", path: "/domains/nope" },
  { method: "GET", path: "/domains/never.example" },
  { method: "GET", path: "/domains?limit=0" },
  { method: "GET", path: "/domains?cursor=nonsense" },
  { method: "GET", path: "/domains?status=perhaps" },
  { method: "POST", path: "/domains/nope/reset" },
  { method: "POST", path: "/domains/never.example/reset" },
  { method: "PUT", path: "/domains/a.example/override", headers: JSON_BODY, body: "{}" },
  { method: "DELETE", path: "/domains/never.example/override" },
  { method: "PUT", path: "/cluster/rule", headers: JSON_BODY, body: '{"deliveredThreshold":-1}' },
  { method: "PUT", path: "/cluster/rule", headers: JSON_BODY, body: "[" },
  { method: "POST", path: "/domains/lookup", headers: JSON_BODY, body: '{"domains":[1]}' },
  { method: "POST", path: "/events", headers: JSON_BODY, body: "{}" },
  { method: "POST", path: "/events", headers: JSON_BODY, body: "[" },
  { method: "POST", path: "/events", headers: { "content-type": "text/plain" }, body: "x" },
  { method: "POST", path: "/events", headers: NDJSON_BODY, body: "" },
  { method: "GET", path: "/no/such/route" },
];
const BAD_LINES: readonly string[] = [
  "{",
  "[]",
  '{"domain":"a.example"}',
  '{"domain":"nope","type":"delivered"}',
  '{"domain":"10.0.0.1","type":"bounced"}',
  '{"domain":"a.example","type":"opened"}',
  '{"domain":"a.example","type":"bounced","count":0}',
  '{"domain":"a.example","type":"bounced","count":1.5}',
  '{"domain":"a.example","type":"bounced","id":""}',
];

export function drawRequests(seed: number, count: number): readonly ScriptRequest[] {
  const random = new SimRandom(seed, "requests");
  return Array.from({ length: count }, (_, i) => {
    const bad = BAD_REQUESTS[(i / BAD_EVERY) % BAD_REQUESTS.length];
    return bad ?? drawRequest(random);
  });
}

function drawRequest(random: SimRandom): ScriptRequest {
  const dice = random.below(100);
  if (dice < 35) return single(random);
  if (dice < 57) return bulk(random);
  return dice < 69 ? byOperator(random) : read(random);
}

function nameOf(random: SimRandom): string {
  return `d${random.below(DOMAINS)}.example`;
}

/** The same domain, written otherwise. */
function spellingOf(random: SimRandom): string {
  const name = nameOf(random);
  return random.pick([name, name, name, name.toUpperCase(), `${name}.`, "bücher.example"]);
}

function kindOf(random: SimRandom): string {
  return random.chance(0.15) ? "bounced" : "delivered";
}

function single(random: SimRandom): ScriptRequest {
  const path = `/events/${encodeURIComponent(spellingOf(random))}/${kindOf(random)}`;
  const method = random.pick(["PUT", "PUT", "POST"]);
  if (random.chance(0.4)) return { method, path };
  return { method, path, headers: { "idempotency-key": `key-${random.below(KEYS)}` } };
}

function bulk(random: SimRandom): ScriptRequest {
  const lines = Array.from({ length: 1 + random.below(30) }, () => {
    if (random.chance(0.1)) return random.pick(BAD_LINES);
    const event = {
      domain: random.chance(0.1) ? `someone@${nameOf(random)}` : spellingOf(random),
      type: kindOf(random),
      ...(random.chance(0.5) ? { count: random.pick([1, 2, 499, 1000, 1001]) } : {}),
      ...(random.chance(0.3) ? { id: `key-${random.below(KEYS)}` } : {}),
    };
    return JSON.stringify(event);
  });
  const request = { method: "POST", path: "/events" };
  if (random.chance(0.6)) return { ...request, headers: NDJSON_BODY, body: lines.join("\n") };
  const values = lines.filter((line) => line !== "{");
  return { ...request, headers: JSON_BODY, body: `[${values.join()}]` };
}

function byOperator(random: SimRandom): ScriptRequest {
  const path = `/domains/${nameOf(random)}`;
  const dice = random.below(10);
  if (dice < 3) {
    const status = random.pick(["catch-all", "not catch-all", "unknown"]);
    const body = JSON.stringify({ status, reason: "Asked for" });
    return { method: "PUT", path: `${path}/override`, headers: JSON_BODY, body };
  }
  if (dice < 6) return { method: "DELETE", path: `${path}/override` };
  if (dice < 8) return { method: "POST", path: `${path}/reset` };
  const rule = {
    deliveredThreshold: random.pick([0, 1, 10, 1000]),
    bouncedThreshold: random.pick([1, 2, 5]),
    maxBounceRatio: random.pick([null, 0, 0.01, 0.5]),
  };
  const dry = random.chance(0.3) ? "?dryRun=true" : "";
  const body = JSON.stringify(rule);
  return { method: "PUT", path: `/cluster/rule${dry}`, headers: JSON_BODY, body };
}

function read(random: SimRandom): ScriptRequest {
  const dice = random.below(10);
  const path = `/domains/${encodeURIComponent(spellingOf(random))}`;
  if (dice < 3) return { method: "GET", path };
  if (dice < 4) return { method: "GET", path, headers: { accept: "text/plain" } };
  if (dice < 6) {
    const domains = Array.from({ length: random.below(20) }, () => spellingOf(random));
    if (random.chance(0.5)) domains.push("nope");
    const body = JSON.stringify({ domains });
    return { method: "POST", path: "/domains/lookup", headers: JSON_BODY, body };
  }
  if (dice < 7) return { method: "GET", path: "/domains/stats" };
  if (dice < 8) return { method: "GET", path: "/cluster/rule" };
  const query = random.pick(["limit=7", "status=catch-all", "status=not%20catch-all&limit=3"]);
  if (random.chance(0.6)) return { method: "GET", path: `/domains?${query}` };
  return { method: "GET", path: "/domains", headers: { accept: "application/x-ndjson" } };
}
