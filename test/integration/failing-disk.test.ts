/**
 * Goal: a disk that fails under a real node costs nothing that was acknowledged. From the failure on nothing is
 * acknowledged, what was in flight is `unknown`, what comes later is refused with effect `none`, and the node ends with
 * an error. On a healthy disk all that was acknowledged is there. A disk that is only full ends nothing: events are
 * refused with `log_full` until there is room, reads go on.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "../../scripts/free-port.ts";
import { catchallArguments, NodeProcess } from "../support/node-process.ts";

const HOOK = new URL("../support/failing-disk-hook.ts", import.meta.url).href;
const SENDERS = 48;
const END_TIMEOUT_MS = 20_000;
/** Long names: some eighty bodies of them fill a segment of the log. */
const FILL_DOMAINS = 1000;
const FILL_BODIES_MAX = 400;
const NAME_PART = "a".repeat(60);
const FLAGS = ["--checkpoint-interval", "200ms", "--partitions", "8"];

/** What became of one sender's events. */
interface Tally {
  readonly domain: string;
  acknowledged: number;
  unknown: number;
  none: number;
  /** Connection gone before an answer. */
  unanswered: number;
}

class Load {
  readonly tallies: Tally[] = [];
  readonly oddities: string[] = [];
  firstFailureAt = Number.POSITIVE_INFINITY;
  acknowledgedAfter = 0;
  #isOver = false;
  readonly #url: string;
  readonly #senders: Promise<void>[] = [];

  constructor(url: string) {
    this.#url = url;
    for (let i = 0; i < SENDERS; i++) {
      const tally = { domain: `d${i}.com`, acknowledged: 0, unknown: 0, none: 0, unanswered: 0 };
      this.tallies.push(tally);
      this.#senders.push(this.#send(tally));
    }
  }

  sum(field: "acknowledged" | "unknown" | "none"): number {
    return this.tallies.reduce((sum, tally) => sum + tally[field], 0);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#senders);
  }

  async #send(tally: Tally): Promise<void> {
    while (!this.#isOver) {
      const sentAt = performance.now();
      try {
        const response = await fetch(`${this.#url}/events/${tally.domain}/delivered`, {
          method: "PUT",
          signal: AbortSignal.timeout(END_TIMEOUT_MS),
        });
        this.#count(tally, sentAt, response.status, await response.text());
      } catch {
        tally.unanswered++;
        return;
      }
    }
  }

  #count(tally: Tally, sentAt: number, status: number, text: string): void {
    if (status === 204) {
      tally.acknowledged++;
      if (sentAt > this.firstFailureAt) this.acknowledgedAfter++;
      return;
    }
    this.firstFailureAt = Math.min(this.firstFailureAt, performance.now());
    const { effect } = JSON.parse(text) as { effect: string };
    if (status === 504 && effect === "unknown") tally.unknown++;
    else if (status === 503 && effect === "none") tally.none++;
    else this.oddities.push(`${status} ${text}`);
  }
}

/** Loads a node, breaks its disk, and checks all of the goal. */
async function breakDisk(command: readonly string[], fail: (pid: number) => Promise<() => void>) {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-eio-"));
  const nodes: NodeProcess[] = [];
  const start = async (more: Partial<Parameters<typeof NodeProcess.start>[0]>) => {
    const port = await freePort();
    const node = await NodeProcess.start({ port, dataDir, flags: FLAGS, ...more });
    nodes.push(node);
    return node;
  };
  try {
    const node = await start({ command });
    const load = new Load(node.url);
    while (load.sum("acknowledged") < 500) await delay(10);
    assert.equal(load.sum("unknown") + load.sum("none"), 0, "healthy so far");
    const release = await fail(node.pid);
    const code = await Promise.race([node.exited, delay(END_TIMEOUT_MS, "still running")]);
    release();
    await load.stop();
    assert.equal(code, 1, node.output);
    assert.match(node.output, /write-ahead log failed; nothing more is acknowledged/);
    assert.match(node.output, /Cannot \w+ \\?"wal\/.*EIO/);
    assert.deepEqual(load.oddities, []);
    assert.equal(load.acknowledgedAfter, 0);
    assert.ok(load.sum("unknown") > 0, "what was in flight is unknown");
    assert.ok(load.sum("none") > 0, "what came later is refused");

    const again = await start({});
    for (const { domain, acknowledged, unknown, unanswered } of load.tallies) {
      const response = await fetch(`${again.url}/domains/${domain}`);
      const { delivered } = (await response.json()) as { delivered: number };
      const range = `${domain}: ${acknowledged} <= ${delivered} <= ${unknown} + ${unanswered} more`;
      assert.ok(delivered >= acknowledged, range);
      assert.ok(delivered <= acknowledged + unknown + unanswered, range);
    }
    assert.equal(await again.stop(), 0);
  } finally {
    for (const node of nodes) if (node.isRunning) await node.kill();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Null when strace may attach to a process of this user. */
async function straceFault(): Promise<string | null> {
  if (spawnSync("strace", ["-V"]).status !== 0) return "strace is not installed";
  const target = spawn(process.execPath, ["-e", "setTimeout(() => {}, 10000)"]);
  const tracer = strace(target.pid as number);
  const isAttached = await attached(tracer);
  await end(tracer);
  await end(target);
  return isAttached ? null : "strace may not attach to other processes here";
}

function strace(pid: number): ChildProcess {
  const calls = "pwrite64,pwritev,fsync,fdatasync";
  const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:error=EIO`];
  return spawn("strace", ["-f", "-p", String(pid), ...inject], {
    stdio: ["ignore", "ignore", "pipe"],
  });
}

async function attached(tracer: ChildProcess): Promise<boolean> {
  for await (const chunk of tracer.stderr ?? []) {
    if (/attached/.test(String(chunk))) {
      tracer.stderr?.resume();
      return true;
    }
  }
  return false;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

interface Problem {
  readonly code: string;
  readonly effect: string;
}

/** Sends the same thousand domains again and again, and knows how often each was acknowledged. */
class Filler {
  readonly acknowledged: number[] = Array.from({ length: FILL_DOMAINS }, () => 0);
  readonly #url: string;
  readonly #lines: string;

  constructor(url: string) {
    this.#url = url;
    const lines = this.acknowledged.map((_, i) => {
      return JSON.stringify({ domain: this.domain(i), type: "delivered" });
    });
    this.#lines = lines.join("\n");
  }

  domain(i: number): string {
    return `d${i}.${NAME_PART}.${NAME_PART}.${NAME_PART}.com`;
  }

  /** The problem that refused some of it, or all; null: everything was acknowledged. Errors: an unknown outcome. */
  async send(): Promise<Problem | null> {
    const response = await fetch(`${this.#url}/events`, {
      ...{ method: "POST", body: this.#lines, signal: AbortSignal.timeout(END_TIMEOUT_MS) },
      headers: { "content-type": "application/x-ndjson" },
    });
    const body = (await response.json()) as Problem & {
      readonly rejected?: readonly { readonly index: number; readonly code: string }[];
    };
    assert.ok(response.status === 200 || response.status === 503, `${response.status}`);
    if (response.status === 503) return body;
    const rejected = new Map(body.rejected?.map(({ index, code }) => [index, code]));
    for (let i = 0; i < FILL_DOMAINS; i++) {
      if (!rejected.has(i)) this.acknowledged[i] = (this.acknowledged[i] as number) + 1;
    }
    const [code] = rejected.values();
    return code === undefined ? null : { code, effect: "none" };
  }

  async counted(url: string): Promise<readonly number[]> {
    const response = await fetch(`${url}/domains/lookup`, {
      method: "POST",
      body: JSON.stringify({ domains: this.acknowledged.map((_, i) => this.domain(i)) }),
      headers: { "content-type": "application/json" },
    });
    assert.equal(response.status, 200);
    const { results } = (await response.json()) as { results: { readonly delivered: number }[] };
    return results.map(({ delivered }) => delivered);
  }
}

async function put(url: string, domain: string): Promise<Problem | null> {
  const response = await fetch(`${url}/events/${domain}/delivered`, { method: "PUT" });
  const text = await response.text();
  if (response.status === 204) return null;
  assert.equal(response.status, 503, text);
  return JSON.parse(text) as Problem;
}

describe("A node whose disk fails", () => {
  it("acknowledges nothing more, ends with an error, and has everything acknowledged", async () => {
    const tsx = fileURLToPath(import.meta.resolve("tsx"));
    const command = ["--import", tsx, "--import", HOOK, ...catchallArguments()];
    await breakDisk(command, async (pid) => {
      process.kill(pid, "SIGUSR2");
      return () => undefined;
    });
  });

  it("does the same when the kernel answers EIO to its system calls", async (context) => {
    const fault = await straceFault();
    if (fault !== null) return context.skip(fault);
    await breakDisk(catchallArguments(), async (pid) => {
      const tracer = strace(pid);
      assert.ok(await attached(tracer));
      return () => void tracer.kill("SIGKILL");
    });
  });
});

describe("A node whose disk is full", () => {
  it("refuses events with effect none, reads on, goes on when there is room, and loses nothing", async () => {
    const tsx = fileURLToPath(import.meta.resolve("tsx"));
    const hook = `${HOOK}?fault=ENOSPC`;
    const command = ["--import", tsx, "--import", hook, ...catchallArguments()];
    const dataDir = await mkdtemp(join(tmpdir(), "catchall-enospc-"));
    const options = { dataDir, flags: FLAGS, port: await freePort() };
    let node = await NodeProcess.start({ ...options, command });
    try {
      const filler = new Filler(node.url);
      for (let i = 0; i < 5; i++) assert.equal(await filler.send(), null);
      process.kill(node.pid, "SIGUSR2");
      let refused: Problem | null = null;
      for (let i = 0; i < FILL_BODIES_MAX && refused === null; i++) refused = await filler.send();
      assert.deepEqual([refused?.code, refused?.effect], ["log_full", "none"]);
      // What is small may still fit.
      let small = 0;
      let single = await put(node.url, "small.com");
      for (; single === null; single = await put(node.url, "small.com")) small++;
      assert.deepEqual([single.code, single.effect], ["log_full", "none"]);
      assert.deepEqual(await filler.counted(node.url), filler.acknowledged);
      assert.equal(node.isRunning, true, node.output);

      process.kill(node.pid, "SIGUSR2");
      for (let i = 0; i < 5; i++) assert.equal(await filler.send(), null, node.output);
      assert.equal(await put(node.url, "small.com"), null);
      await node.kill();
      node = await NodeProcess.start(options);
      assert.deepEqual(await filler.counted(node.url), filler.acknowledged);
      const answer = await fetch(`${node.url}/domains/small.com`);
      assert.equal(((await answer.json()) as { delivered: number }).delivered, small + 1);
      assert.equal(await node.stop(), 0);
    } finally {
      if (node.isRunning) await node.kill();
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});
