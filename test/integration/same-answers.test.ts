/**
 * Embedded and cluster give the same answers for the same events (I21): one script of requests to both, to the cluster
 * through varying nodes, and on after each has lost a process and recovered. Real processes.
 * Left out of the comparison is what can't be the same: times, names of nodes, cursors, and which changes are told on the
 * way to a status, since events of one body add up as they happen to meet.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { freePort } from "../../scripts/free-port.ts";
import { ClusterRig, PARTITIONS, until } from "../support/cluster-rig.ts";
import { NodeProcess } from "../support/node-process.ts";
import { drawRequests, type ScriptRequest } from "../support/request-script.ts";
import { StatusStream } from "../support/status-stream.ts";

const NODES = ["n1", "n2"];
const SEED = 21;
const REQUESTS = 150;
const LIMIT_MS = 15_000;
/** No pause of a busy machine may end a lease: a refusal would be a difference. */
const LEASE_TTL_MS = 5000;
const DOMAINS_MIN = 20;
/** Of a domain of which nothing was told. */
const UNTOLD = "unknown";
const HEADERS = ["content-type", "idempotency-replayed", "allow", "retry-after", "cache-control"];
const TIMES: ReadonlySet<string> = new Set([
  ...["firstSeen", "lastSeen", "statusSince", "asOf", "at"],
]);

interface Said {
  readonly status: number;
  readonly headers: readonly (string | null)[];
  readonly body: unknown;
}

describe("an embedded node and a cluster", { timeout: 100_000 }, () => {
  let rig: ClusterRig;
  let directory = "";
  let port = 0;
  let node: NodeProcess;
  let streams: readonly StatusStream[] = [];
  /** By streams that have ended, alone and in the cluster. */
  let toldBefore: readonly string[] = ["", ""];

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "catchall-same-"));
    port = await freePort();
    [node, rig] = await Promise.all([
      startAlone(),
      ClusterRig.start({ nodes: NODES, leaseTtlMs: LEASE_TTL_MS }),
    ]);
  });

  after(async () => {
    for (const stream of streams) stream.close();
    await node?.kill();
    await rig?.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  function startAlone(): Promise<NodeProcess> {
    const flags = ["--node-id", "alone", "--partitions", String(PARTITIONS)];
    const options = { port, dataDir: directory };
    return NodeProcess.start({ ...options, flags: [...flags, "--checkpoint-interval", "1s"] });
  }

  async function openStreams(): Promise<void> {
    for (const stream of streams) stream.close();
    toldBefore = toldBefore.map((text, i) => text + (streams[i]?.text ?? ""));
    const urls = [node.url, rig.url("n1")];
    streams = await Promise.all(urls.map((url) => StatusStream.open(url, "/changes")));
  }

  /** Each request to both at once, and the next when both have answered; resolves to how often each status was seen. */
  async function compare(requests: readonly ScriptRequest[]): Promise<Map<number, number>> {
    const seen = new Map<number, number>();
    for (const [i, request] of requests.entries()) {
      const asked = rig.running[i % rig.running.length] ?? "";
      const [alone, inCluster] = await Promise.all([
        say(node.url, request),
        say(rig.url(asked), request),
      ]);
      const what = `seed ${SEED}, request ${i} through ${asked}: ${JSON.stringify(request)}`;
      assert.deepEqual(inCluster, alone, what);
      seen.set(alone.status, (seen.get(alone.status) ?? 0) + 1);
    }
    return seen;
  }

  /** Every domain with its evidence, page by page, and the status that was told last of each. */
  async function compareAll(): Promise<void> {
    const [alone, inCluster] = await Promise.all([allPages(node.url), allPages(rig.url("n2"))]);
    assert.deepEqual(inCluster, alone);
    assert.ok(alone.length > DOMAINS_MIN, `${alone.length} domains`);
    const statuses = new Map(alone.map(({ domain, status }) => [domain, status]));
    await until("every status is told", LIMIT_MS, async () => {
      for (const [i, stream] of streams.entries()) {
        const told = statusesTold(`${toldBefore[i]}${stream.text}`);
        const wrong = [...statuses].filter(([domain, is]) => (told.get(domain) ?? UNTOLD) !== is);
        assert.deepEqual(wrong, [], i === 0 ? "alone" : "in the cluster");
      }
      return true;
    });
  }

  it("answer the same, request by request", async () => {
    await openStreams();
    const seen = await compare(drawRequests(SEED, REQUESTS));
    for (const status of [200, 204, 400, 404, 405, 415, 422]) {
      assert.ok((seen.get(status) ?? 0) > 0, `some answer is ${status}: ${[...seen]}`);
    }
    await compareAll();
  });

  it("answer the same after the one was killed and a node of the other", async () => {
    await Promise.all([node.kill(), rig.kill("n2")]);
    [node] = await Promise.all([startAlone(), rig.startNode("n2")]);
    await rig.allOpen();
    await openStreams();
    await compare(drawRequests(SEED + 1, REQUESTS));
    await compareAll();
  });

  it("say both that the log is synced", async () => {
    for (const url of [node.url, rig.url("n1")]) {
      const { body } = await say(url, { method: "GET", path: "/metrics" });
      assert.match(String(body), /^catchall_wal_synced 1$/m, url);
    }
  });
});

async function say(url: string, { method, path, headers, body }: ScriptRequest): Promise<Said> {
  const response = await fetch(url + path, {
    method,
    headers: headers ?? {},
    body: body ?? null,
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const type = response.headers.get("content-type") ?? "";
  const text = await response.text();
  const shown = HEADERS.map((name) => response.headers.get(name));
  return { status: response.status, headers: shown, body: bodyOf(text, type) };
}

function bodyOf(text: string, type: string): unknown {
  if (text === "") return text;
  if (type.includes("ndjson")) {
    return text.split("\n").map((line) => (line === "" ? line : comparable(JSON.parse(line))));
  }
  return type.includes("json") ? comparable(JSON.parse(text)) : text;
}

/** Without what may differ: a time is there or it is not; a cursor as well. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).flatMap(([key, field]): [string, unknown][] => {
    if (key === "node" || key === "nodes" || key === "id") return [];
    if (TIMES.has(key) || key === "nextCursor") return [[key, field === null ? null : "some"]];
    return [[key, comparable(field)]];
  });
  return Object.fromEntries(kept);
}

interface Listed {
  readonly domain: string;
  readonly status: string;
}

async function allPages(url: string): Promise<readonly Listed[]> {
  const items: Listed[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const response = await fetch(`${url}/domains?limit=5${query}`);
    const page = (await response.json()) as {
      readonly items: readonly Listed[];
      readonly nextCursor: string | null;
    };
    items.push(...(comparable(page.items) as Listed[]));
    cursor = page.nextCursor;
  }
  return items;
}

/** By domain; each change must begin where the one before has ended. */
function statusesTold(text: string): ReadonlyMap<string, string> {
  const told = new Map<string, string>();
  for (const [, data = ""] of text.matchAll(/^data: (.*)$/gm)) {
    const { domain, from, to } = JSON.parse(data);
    assert.equal(from, told.get(domain) ?? UNTOLD, `${domain} to ${to}`);
    told.set(domain, to);
  }
  return told;
}
