/**
 * `import` with real directories and real processes: exact whatever is killed half-way, and refused where it could not
 * be. The source is killed, not stopped: its directory has a log and no checkpoint.
 */

import assert from "node:assert/strict";
import {
  constants,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort } from "../../scripts/free-port.ts";
import { CatchallClient, type DomainStatus } from "../../src/client/index.ts";
import { type CliRun, cli } from "../support/cli-run.ts";
import { NodeProcess } from "../support/node-process.ts";
import { type StubRequest, type StubServer, startStub } from "../support/stub-server.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const COMMAND = ["--import", "tsx", MAIN, "serve"];
const DOMAINS = 3000;
const CHUNKS = 64;
/** 1 + … + DOMAINS. */
const TOTAL_DELIVERED = (DOMAINS * (DOMAINS + 1)) / 2;

const root = mkdtempSync(path.join(tmpdir(), "catchall-import-"));
const source = path.join(root, "source");
let port = 0;
let target: NodeProcess | null = null;

after(async () => {
  await target?.kill();
  rmSync(root, { recursive: true });
});

async function startTarget(): Promise<NodeProcess> {
  const flags = ["--partitions", String(CHUNKS)];
  target = await NodeProcess.start({
    port,
    dataDir: path.join(root, "target"),
    command: COMMAND,
    flags,
  });
  return target;
}

function runImport(
  dataDir: string,
  options: { readonly url?: string; readonly signal?: AbortSignal } = {},
): Promise<CliRun> {
  const { url = `http://127.0.0.1:${port}`, signal } = options;
  return cli(["import", dataDir, "--url", url], signal === undefined ? {} : { signal });
}

/** Passes requests on to the target. `onChunk`: before the answer to each chunk is told; false loses it. */
async function startProxy(onChunk: (count: number) => Promise<boolean>): Promise<StubServer> {
  let chunks = 0;
  const pass = async (request: StubRequest, response: ServerResponse): Promise<void> => {
    const { method, path: at, body, headers } = request;
    const type = { "content-type": String(headers["content-type"]) };
    const init = method === "GET" ? { method } : { method, body, headers: type };
    const answer = await fetch(`http://127.0.0.1:${port}${at}`, init);
    const text = await answer.text();
    if (at === "/cluster/import" && !(await onChunk(++chunks))) throw new Error("lost");
    const contentType = answer.headers.get("content-type") ?? "";
    response.writeHead(answer.status, { "content-type": contentType }).end(text);
  };
  return startStub((request, response) => {
    pass(request, response).catch(() => response.destroy());
  });
}

function expected(i: number): readonly [number, number] {
  return [1 + i, i % 5 === 0 ? 1 : 0];
}

describe("import", () => {
  before(async () => {
    const dataDir = source;
    const from = await NodeProcess.start({ port: await freePort(), dataDir, command: COMMAND });
    const client = new CatchallClient({ url: from.url });
    const events = Array.from({ length: DOMAINS }, (_, i) => {
      const [delivered, bounced] = expected(i);
      const domain = `d${i}.example.com`;
      const sent = { domain, type: "delivered", count: delivered } as const;
      return bounced === 0 ? [sent] : [sent, { domain, type: "bounced" } as const];
    });
    assert.equal((await client.sendMany(events.flat())).rejected.length, 0);
    port = await freePort();
    await startTarget();
    const inUse = await runImport(dataDir);
    assert.equal(inUse.code, 1);
    assert.match(inUse.stderr, /in use by process \d+/);
    await from.kill();
  });

  it("is exact though the command is stopped and the node killed half-way", async () => {
    const client = new CatchallClient({ url: `http://127.0.0.1:${port}` });
    const stop = new AbortController();
    const stopping = await startProxy(async (count) => {
      if (count === CHUNKS / 4) stop.abort();
      return true;
    });
    const { code, stderr } = await runImport(source, { url: stopping.url, signal: stop.signal });
    await stopping.close();
    assert.equal(code, 1);
    assert.match(stderr, /not complete: .*\n {2}next: run the same command again/);
    const { delivered } = await client.stats();
    assert.ok(delivered > 0 && delivered < TOTAL_DELIVERED);

    let isKilled = false;
    const killing = await startProxy(async (count) => {
      // Some answers are lost, and once the node with them.
      if (count % 7 === 0) return false;
      if (count < CHUNKS / 2 || isKilled) return true;
      isKilled = true;
      await target?.kill();
      await startTarget();
      return false;
    });
    const run = await runImport(source, { url: killing.url });
    await killing.close();
    assert.equal(run.code, 0, run.stderr);
    assert.ok(isKilled);
    assert.match(run.stdout, /domains added\n[\d,]+ domains had been added before\n$/);
    await checkCounts(client);

    const again = await runImport(source);
    assert.equal(again.stdout, "0 domains added\n3,000 domains had been added before\n");
    await checkCounts(client);
  });

  it("refuses a directory that was used since, one that is damaged, and one that is none", async () => {
    const damaged = path.join(root, "damaged");
    cpSync(source, damaged, { recursive: true, filter: (name) => !name.endsWith(".sock") });
    // A killed node leaves its log and little else.
    const files = readdirSync(damaged, { recursive: true, encoding: "utf8" });
    const file = files.map((name) => path.join(damaged, name)).find((name) => isLarge(name));
    assert.ok(file !== undefined, files.join(" "));
    const bytes = readFileSync(file);
    bytes[5000] = (bytes[5000] as number) ^ 0xff;
    writeFileSync(file, bytes);
    const broken = await runImport(damaged);
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /damage/i);

    const none = await runImport(root);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /is not a data directory of catchall/);
    assert.ok(!existsSync(path.join(root, "lock.pid")), "left something in a directory of others");
    assert.equal((await runImport(path.join(root, "missing"))).code, 1);

    const dataDir = source;
    const from = await NodeProcess.start({ port: await freePort(), dataDir, command: COMMAND });
    await from.kill();
    assert.equal((await runImport(source)).code, 0, "a start without an event changes nothing");
    const used = await NodeProcess.start({ port: await freePort(), dataDir, command: COMMAND });
    await new CatchallClient({ url: used.url }).delivered("d0.example.com");
    await used.kill();
    const changed = await runImport(source);
    assert.equal(changed.code, 1);
    assert.match(changed.stderr, /not as it was when its import began/);
  });
});

function isLarge(name: string): boolean {
  const { size, mode } = statSync(name);
  return size > 10_000 && (mode & constants.S_IFMT) === constants.S_IFREG;
}

async function checkCounts(client: CatchallClient): Promise<void> {
  const found = new Map<string, DomainStatus>();
  for await (const status of client.export()) found.set(status.domain, status);
  assert.equal(found.size, DOMAINS);
  for (let i = 0; i < DOMAINS; i++) {
    const status = found.get(`d${i}.example.com`);
    const [delivered, bounced] = expected(i);
    assert.deepEqual([status?.delivered, status?.bounced], [delivered, bounced]);
    const right = bounced > 0 ? "not catch-all" : delivered > 1000 ? "catch-all" : "unknown";
    assert.equal(status?.status, right);
  }
}
