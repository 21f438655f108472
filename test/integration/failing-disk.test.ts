/**
 * Goal: a disk that fails under a real node costs nothing that was acknowledged. From the failure on nothing is
 * acknowledged, what was in flight is `unknown`, what comes later is refused with effect `none`, and the node ends with
 * an error. On a healthy disk all that was acknowledged is there.
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
