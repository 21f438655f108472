/**
 * Goal: `catchall serve` as users meet it: a real process, its exit codes, its answers, and what is there after a stop,
 * a kill and a restart.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { get, put } from "../support/http-requests.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { catchallArguments } from "../support/node-process.ts";
import { RawConnection } from "../support/raw-http.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TIMEOUT_MS = 20_000;
const FAST = ["--checkpoint-interval", "200ms", "--shutdown-timeout", "10s"];

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

/** A started process: its output so far, and its end. */
class Served {
  output = "";
  errors = "";
  readonly ended: Promise<number | null>;
  readonly #child;
  url = "";

  constructor(flags: readonly string[]) {
    const args = [...catchallArguments(), "--port", "0", ...flags];
    this.#child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { PATH: process.env["PATH"] },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stdout.on("data", (chunk: Buffer) => {
      this.output += chunk.toString();
    });
    this.#child.stderr.on("data", (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    this.ended = once(this.#child, "close").then(([code]) => code as number | null);
  }

  /** Resolves when the banner is there. */
  static async start(flags: readonly string[]): Promise<Served> {
    const served = new Served(flags);
    const giveUpMs = performance.now() + TIMEOUT_MS;
    while (served.url === "") {
      if (performance.now() > giveUpMs || !served.isRunning) {
        served.signal("SIGKILL");
        throw new Error(`no banner:\n${served.output}\n${served.errors}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
      const match = /serves (http:\/\/\S+)[\s\S]*Try: .*\n/.exec(served.output);
      served.url = match?.[1] ?? "";
    }
    return served;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async stop(name: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.signal(name);
    return await this.ended;
  }

  async ask(
    method: string,
    path: string,
    options: { body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<Reply> {
    const { body, headers = {} } = options;
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...json, ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    return { status: response.status, text, json: isJson ? JSON.parse(text) : {} };
  }

  async counts(domain: string): Promise<[unknown, unknown, unknown]> {
    const { json } = await this.ask("GET", `/domains/${domain}`);
    return [json["delivered"], json["bounced"], json["status"]];
  }
}

describe("catchall serve", () => {
  let root = "";
  let made = 0;
  const started: Served[] = [];

  before(async () => {
    root = await mkdtemp(join(tmpdir(), "catchall-serve-"));
  });

  after(async () => {
    for (const served of started) if (served.isRunning) await served.stop("SIGKILL");
    await rm(root, { recursive: true, force: true });
  });

  function newDirectory(): string {
    made++;
    return join(root, `data${made}`);
  }

  async function start(directory: string, ...flags: string[]): Promise<Served> {
    const served = await Served.start(["--data-dir", directory, ...FAST, ...flags]);
    started.push(served);
    return served;
  }

  async function mistakesOf(...flags: string[]): Promise<[number | null, string[]]> {
    const served = new Served(["--data-dir", newDirectory(), ...flags]);
    started.push(served);
    const code = await served.ended;
    return [code, served.errors.trim().split("\n")];
  }

  it("says where it serves, counts what is put, and stops with 0 with everything kept", async () => {
    const directory = newDirectory();
    const first = await start(directory);
    assert.match(first.output, /one node, log synced before each answer/);
    assert.ok(first.output.includes(`Dashboard: ${first.url}/`));
    assert.equal((await first.ask("PUT", "/events/Example.COM/delivered")).status, 204);
    const keyed = { headers: { "idempotency-key": "k1" } };
    assert.equal((await first.ask("PUT", "/events/example.com/bounced", keyed)).status, 204);
    assert.deepEqual(await first.counts("example.com"), [1, 1, "not catch-all"]);
    const stopStartedMs = performance.now();
    assert.equal(await first.stop(), 0, first.errors);
    assert.ok(performance.now() - stopStartedMs < 5000, "an idle node stops at once");

    const second = await start(directory);
    assert.deepEqual(await second.counts("example.com"), [1, 1, "not catch-all"]);
    assert.equal((await second.ask("PUT", "/events/example.com/bounced", keyed)).status, 204);
    assert.deepEqual(await second.counts("example.com"), [1, 1, "not catch-all"]);
    assert.equal(await second.stop("SIGINT"), 0);
  });

  it("keeps everything acknowledged over kill -9, three times over", async () => {
    const directory = newDirectory();
    const acknowledged = new Map<string, number>();
    for (let life = 0; life < 3; life++) {
      const node = await start(directory);
      let isKilled = false;
      const senders = Array.from({ length: 8 }, async (_, sender) => {
        const domain = `d${sender}.com`;
        while (!isKilled) {
          try {
            const reply = await node.ask("PUT", `/events/${domain}/delivered`);
            if (reply.status !== 204) continue;
            acknowledged.set(domain, (acknowledged.get(domain) ?? 0) + 1);
          } catch {
            return;
          }
        }
      });
      await new Promise((resolve) => setTimeout(resolve, 500));
      await node.stop("SIGKILL");
      isKilled = true;
      await Promise.all(senders);
    }
    const node = await start(directory);
    assert.equal(acknowledged.size, 8);
    for (const [domain, count] of acknowledged) {
      const [delivered] = await node.counts(domain);
      // Each sender has one request in flight at each kill, which may be counted or not.
      assert.ok(Number(delivered) >= count && Number(delivered) <= count + 3, domain);
    }
    assert.equal(await node.stop(), 0);
  });

  it("answers what still comes on idle connections of a node that stops, and closes them", async () => {
    const node = await start(newDirectory());
    const port = Number(new URL(node.url).port);
    const connections = [await RawConnection.open(port), await RawConnection.open(port)];
    for (const connection of connections) {
      connection.send(put("a.example"));
      assert.equal((await connection.responses(1)).length, 1);
    }
    node.signal("SIGTERM");
    // A probe opens a connection of its own.
    const deadlineMs = performance.now() + TIMEOUT_MS;
    let probe = await node.ask("GET", "/readyz");
    while (probe.status === 200 && performance.now() < deadlineMs) {
      probe = await node.ask("GET", "/readyz");
    }
    assert.equal(probe.status, 503);
    assert.equal(probe.json["ready"], false);
    while ((await Promise.allSettled([RawConnection.open(port)]))[0].status === "fulfilled");
    connections[0]?.send(put("a.example"));
    connections[1]?.send(get("/domains/a.example"));
    const [written, read] = await Promise.all(
      connections.map(async (connection) => (await connection.responses(2))[1]),
    );
    const problem = JSON.parse(written?.body.toString() ?? "{}") as Record<string, unknown>;
    assert.deepEqual(
      [written?.status, problem["code"], problem["effect"]],
      [503, "shutting_down", "none"],
    );
    // A read is answered as long as the memory is there.
    assert.ok(read?.status === 200 || read?.status === 503);
    for (const answer of [written, read]) assert.equal(answer?.headers.get("connection"), "close");
    assert.equal(await node.ended, 0);
  });

  it("ends at once on a second signal, with what was acknowledged kept", async () => {
    const directory = newDirectory();
    const node = await start(directory);
    await node.ask("PUT", "/events/a.com/delivered");
    node.signal("SIGTERM");
    node.signal("SIGINT");
    assert.ok([0, 1].includes((await node.ended) as number));
    const again = await start(directory);
    assert.deepEqual(await again.counts("a.com"), [1, 0, "unknown"]);
    assert.equal(await again.stop(), 0);
  });

  it("stops in order when a terminal and npm both pass on the same signal", async () => {
    const node = await start(newDirectory());
    node.signal("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 5));
    node.signal("SIGINT");
    assert.equal(await node.ended, 0);
  });

  it("says in one sentence that its port is taken", async () => {
    const node = await start(newDirectory());
    const port = new URL(node.url).port;
    const second = new Served(["--port", port, "--data-dir", newDirectory(), ...FAST]);
    assert.equal(await second.ended, 78);
    const said = (second.output + second.errors)
      .split("\n")
      .filter((line) => !line.includes('"level":"info"'));
    assert.deepEqual(
      said.filter((line) => line !== ""),
      [`Can't listen on "127.0.0.1:${port}": another process does; take another --port`],
    );
    assert.equal(await node.stop(), 0);
  });

  it("ends with 78 and one sentence for each mistake", async () => {
    const [code, sentences] = await mistakesOf("--partitions", "3", "--log-level", "loud");
    assert.equal(code, 78);
    assert.equal(sentences.length, 2, sentences.join("\n"));
    assert.ok(sentences.some((sentence) => sentence.includes("partitions")));
    assert.ok(sentences.some((sentence) => sentence.includes("log-level")));
  });

  it("ends with 78 for --nats-url without --mongo-url", async () => {
    const [code, sentences] = await mistakesOf("--nats-url", "nats://127.0.0.1:4222");
    assert.equal(code, 78);
    assert.ok(sentences.some((sentence) => sentence.startsWith("--nats-url needs --mongo-url")));
  });

  it("ends with 78 at once for a login that NATS refuses, and names the server only", async () => {
    const nats = await TestNatsServer.start({
      extra: 'authorization { user: "node", password: "s3cret-a" }',
    });
    const natsUrl = nats.url.replace("//", "//node:s3cret-b@");
    const startedMs = performance.now();
    const flags = ["--nats-url", natsUrl, "--mongo-url", "mongodb://127.0.0.1:1"];
    const [code, sentences] = await mistakesOf(...flags).finally(() => nats.dispose());
    assert.equal(code, 78);
    assert.deepEqual(sentences, [
      `Can't connect to NATS at 127.0.0.1:${nats.port}: it refuses these credentials`,
    ]);
    assert.ok(performance.now() - startedMs < 10_000, "no second try");
  });

  it("says in one short line a try why it can't reach NATS, and ends with 0 when told to", async () => {
    const mongo = ["--mongo-url", "mongodb://127.0.0.1:1"];
    const served = new Served(["--nats-url", "nats://127.0.0.1:1", ...mongo]);
    started.push(served);
    const giveUpMs = performance.now() + TIMEOUT_MS;
    while (!served.output.includes("\n") && served.isRunning && performance.now() < giveUpMs) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const stoppedMs = performance.now();
    assert.equal(await served.stop(), 0);
    assert.ok(performance.now() - stoppedMs < 10_000, "the other tries are left out");
    const { level, reason, tries, msg, err } = JSON.parse(served.output.split("\n")[0] ?? "");
    assert.deepEqual(
      { level, reason, tries, msg, err },
      {
        level: "warn",
        reason: "Can't connect to NATS at 127.0.0.1:1: nobody listens there",
        tries: 1,
        msg: "NATS can't be reached yet",
        err: undefined,
      },
    );
  });

  it("ends with 78 for a tokens file that is wrong or not there", async () => {
    const file = join(root, "wrong-tokens");
    await writeFile(file, '{"name":"x"}\nnonsense\n');
    const [code, sentences] = await mistakesOf("--tokens-file", file);
    assert.equal(code, 78);
    assert.equal(sentences.length, 2, sentences.join("\n"));
    await writeFile(file, "nonsense\n".repeat(173));
    const [, many] = await mistakesOf("--tokens-file", file);
    assert.equal(many.length, 21);
    assert.equal(many.at(-1), "and 153 more");
    const [missing, reasons] = await mistakesOf("--tokens-file", join(root, "none"));
    assert.equal(missing, 78);
    assert.match(reasons.join("\n"), /cannot be read/);
  });

  it("ends with 78 for another number of partitions than the first start had", async () => {
    const directory = newDirectory();
    assert.equal(await (await start(directory, "--partitions", "4")).stop(), 0);
    const served = new Served(["--data-dir", directory, "--partitions", "8"]);
    started.push(served);
    assert.equal(await served.ended, 78);
    assert.match(served.errors, /made with --partitions 4, not 8/);
  });

  it("ends with 1 while another process holds the data directory", async () => {
    const directory = newDirectory();
    const holder = await start(directory);
    const served = new Served(["--data-dir", directory]);
    started.push(served);
    assert.equal(await served.ended, 1);
    assert.match(served.errors, /data directory|process/i);
    assert.equal((await holder.ask("GET", "/readyz")).status, 200);
    assert.equal(await holder.stop(), 0);
  });

  it("asks for a token where there is a tokens file, with the roles it has", async () => {
    const file = join(root, "tokens");
    const line = (name: string, roles: string[]): string => {
      const sha256 = createHash("sha256").update(`token-${name}`).digest("hex");
      return JSON.stringify({ name, sha256, roles });
    };
    await writeFile(file, `${line("reader", ["read"])}\n${line("writer", ["write"])}\n`);
    const node = await start(newDirectory(), "--tokens-file", file);
    const as = (name: string) => ({ headers: { authorization: `Bearer token-${name}` } });
    const put = "/events/a.com/delivered";
    assert.equal((await node.ask("PUT", put)).status, 401);
    assert.equal((await node.ask("PUT", put, as("reader"))).status, 403);
    assert.equal((await node.ask("PUT", put, as("writer"))).status, 204);
    assert.equal((await node.ask("GET", "/domains/a.com", as("reader"))).json["delivered"], 1);
    assert.equal((await node.ask("GET", "/healthz")).status, 200);
    assert.equal(await node.stop(), 0);
  });

  it("keeps the rule and overrides over a restart, and a dry run changes nothing", async () => {
    const directory = newDirectory();
    const first = await start(directory);
    for (let i = 0; i < 3; i++) await first.ask("PUT", "/events/a.com/delivered");
    const rule = { deliveredThreshold: 2, bouncedThreshold: 1, maxBounceRatio: null };
    const dryRun = await first.ask("PUT", "/cluster/rule?dryRun=true", { body: rule });
    assert.equal(dryRun.status, 200, dryRun.text);
    assert.equal(dryRun.json["domainsChanged"], 1);
    assert.deepEqual(await first.counts("a.com"), [3, 0, "unknown"]);
    const changed = await first.ask("PUT", "/cluster/rule", { body: rule });
    assert.equal(changed.status, 200, changed.text);
    assert.equal(changed.json["domainsChanged"], 1);
    assert.deepEqual(await first.counts("a.com"), [3, 0, "catch-all"]);
    const override = { status: "not catch-all", reason: "seen by hand" };
    const set = await first.ask("PUT", "/domains/b.com/override", { body: override });
    assert.equal(set.status, 200, set.text);
    assert.equal(await first.stop(), 0);

    const second = await start(directory);
    assert.deepEqual((await second.ask("GET", "/cluster/rule")).json["deliveredThreshold"], 2);
    assert.deepEqual(await second.counts("a.com"), [3, 0, "catch-all"]);
    const overridden = (await second.ask("GET", "/domains/b.com")).json;
    assert.equal(overridden["status"], "not catch-all");
    assert.equal(overridden["overridden"], true);
    for (let i = 0; i < 3; i++) await second.ask("PUT", "/events/c.com/delivered");
    assert.deepEqual(await second.counts("c.com"), [3, 0, "catch-all"]);
    await second.stop("SIGKILL");

    const third = await start(directory);
    assert.deepEqual(await third.counts("c.com"), [3, 0, "catch-all"]);
    assert.equal((await third.ask("GET", "/domains/b.com")).json["status"], "not catch-all");
    assert.equal(await third.stop(), 0);
  });

  it("lists every domain by pages", async () => {
    const node = await start(newDirectory());
    const names = Array.from({ length: 25 }, (_, i) => `d${i}.com`).sort();
    await Promise.all(names.map((name) => node.ask("PUT", `/events/${name}/delivered`)));
    const listed: string[] = [];
    let path = "/domains?limit=10";
    for (let pages = 0; pages < 4 && path !== ""; pages++) {
      const { json } = await node.ask("GET", path);
      listed.push(...(json["items"] as { domain: string }[]).map((item) => item.domain));
      const next = json["nextCursor"];
      path = typeof next === "string" ? `/domains?limit=10&cursor=${next}` : "";
    }
    assert.deepEqual(listed.sort(), names);
    assert.equal(await node.stop(), 0);
  });

  it("gives every domain to `catchall export`, whole or not at all", async () => {
    const node = await start(newDirectory());
    for (const name of ["a.com", "b.com", "c.com"]) {
      await node.ask("PUT", `/events/${name}/${name === "b.com" ? "bounced" : "delivered"}`);
    }
    const file = join(root, "export.ndjson");
    const command = [...catchallArguments().slice(0, -1), "export"];
    const child = spawn(process.execPath, [...command, "--url", node.url, "--output", file], {
      cwd: ROOT,
      stdio: "ignore",
    });
    assert.deepEqual(await once(child, "exit"), [0, null]);
    const lines = (await readFile(file, "utf8")).trim().split("\n");
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(told.map((one) => [one["domain"], one["delivered"], one["bounced"]]).sort(), [
      ["a.com", 1, 0],
      ["b.com", 0, 1],
      ["c.com", 1, 0],
    ]);
    assert.equal(await node.stop(), 0);
  });

  it("tells a watcher of a change, and ends the stream when it stops", async () => {
    const node = await start(newDirectory());
    const response = await fetch(`${node.url}/domains/a.com/watch`);
    assert.equal(response.headers.get("content-type")?.startsWith("text/event-stream"), true);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = "";
    const decoder = new TextDecoder();
    assert.equal((await node.ask("PUT", "/events/a.com/bounced")).status, 204);
    while (!text.includes('"not catch-all"')) {
      const { done, value } = await reader.read();
      assert.ok(!done, `the stream ended after: ${text}`);
      text += decoder.decode(value, { stream: true });
    }
    assert.equal(await node.stop(), 0);
    for (;;) {
      const end = await reader.read().catch(() => ({ done: true }));
      if (end.done) break;
    }
  });

  it("answers 204 or an error with effect none to every event while it stops", async () => {
    const directory = newDirectory();
    const node = await start(directory);
    const outcomes = new Map<string, number>();
    let counted = 0;
    let inDoubt = 0;
    const senders = Array.from({ length: 16 }, async () => {
      for (;;) {
        try {
          const reply = await node.ask("PUT", "/events/a.com/delivered");
          const outcome = reply.status === 204 ? "204" : String(reply.json["code"]);
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
          if (reply.status === 204) counted++;
          else assert.equal(reply.json["effect"], "none", reply.text);
          if (reply.status !== 204) return;
        } catch (error) {
          if (error instanceof assert.AssertionError) throw error;
          inDoubt++;
          return;
        }
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await node.stop(), 0);
    await Promise.all(senders);
    assert.deepEqual(
      [...outcomes.keys()].filter((key) => key !== "204" && key !== "shutting_down"),
      [],
    );
    const again = await start(directory);
    const [delivered] = await again.counts("a.com");
    assert.ok(Number(delivered) >= counted && Number(delivered) <= counted + inDoubt);
    assert.equal(await again.stop(), 0);
  });
});
