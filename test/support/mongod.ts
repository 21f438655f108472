/**
 * A real mongod for tests: a replica set of one (or a server that stands alone), free port, folder of its own, fail
 * points on. Ended by its process id; killed, or frozen, and started again on the same port and data when a test wants.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { freePort } from "../../scripts/free-port.ts";
import { findMongod } from "../../scripts/servers.ts";
import { freeze } from "./freeze.ts";

const START_LIMIT_MS = 30_000;
const REPLICA_SET = "catchall-test";

export interface TestMongodOptions {
  /** False: a server that stands alone. */
  readonly isReplicaSet?: boolean;
  readonly cacheGb?: number;
  /** Folder for its data; default: the system's for temporary files. */
  readonly parent?: string;
}

export class TestMongod {
  readonly port: number;
  readonly #root: string;
  readonly #program: string;
  readonly #options: TestMongodOptions;
  #process: ChildProcess | null = null;

  private constructor(root: string, program: string, port: number, options: TestMongodOptions) {
    this.#root = root;
    this.#program = program;
    this.port = port;
    this.#options = options;
  }

  static async start(options: TestMongodOptions = {}): Promise<TestMongod> {
    const program = await findMongod();
    const root = await mkdtemp(join(options.parent ?? tmpdir(), "catchall-mongod-"));
    const server = new TestMongod(root, program, await freePort(), options);
    await server.restart();
    return server;
  }

  get url(): string {
    const query = this.#isReplicaSet ? `?replicaSet=${REPLICA_SET}` : "?directConnection=true";
    return `mongodb://127.0.0.1:${this.port}/${query}`;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get #isReplicaSet(): boolean {
    return this.#options.isReplicaSet ?? true;
  }

  /** Starts it again after `kill` or `stop`, on the same port and data; returns when it takes writes. */
  async restart(): Promise<void> {
    const flags = ["--dbpath", this.#root, "--port", String(this.port), "--bind_ip", "127.0.0.1"];
    flags.push("--nounixsocket", "--setParameter", "enableTestCommands=1");
    flags.push("--setParameter", "diagnosticDataCollectionEnabled=false");
    flags.push("--wiredTigerCacheSizeGB", String(this.#options.cacheGb ?? 0.5));
    if (this.#isReplicaSet) flags.push("--replSet", REPLICA_SET);
    const started = spawn(this.#program, flags, { stdio: ["ignore", "pipe", "ignore"] });
    this.#process = started;
    let log = "";
    started.stdout?.on("data", (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4000);
    });
    const deadline = Date.now() + START_LIMIT_MS;
    for (;;) {
      if (await this.#takesWrites()) return;
      const isGone = started.exitCode !== null || started.signalCode !== null;
      if (isGone || Date.now() > deadline) {
        throw new Error(`mongod did not start: ${log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Runs an administrator's command, such as `configureFailPoint`. */
  async command(command: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    return await this.#asAdministrator((client) => client.db("admin").command(command));
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGSTOP: it accepts connections and answers nothing. */
  pause(): void {
    const pid = this.#process?.pid;
    if (pid !== undefined) freeze(pid);
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  async dispose(): Promise<void> {
    await this.kill();
    await rm(this.#root, { recursive: true, force: true });
  }

  async #takesWrites(): Promise<boolean> {
    try {
      const hello = await this.command({ hello: 1 });
      if (hello["isWritablePrimary"] === true) return true;
      if (this.#isReplicaSet && hello["setName"] === undefined) {
        const members = [{ _id: 0, host: `127.0.0.1:${this.port}` }];
        await this.command({ replSetInitiate: { _id: REPLICA_SET, members } });
      }
    } catch {
      // Not there yet.
    }
    return false;
  }

  async #asAdministrator<T>(work: (client: MongoClient) => Promise<T>): Promise<T> {
    const url = `mongodb://127.0.0.1:${this.port}/?directConnection=true`;
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 1000, maxPoolSize: 1 });
    try {
      await client.connect();
      return await work(client);
    } finally {
      await client.close();
    }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const running = this.#process;
    this.#process = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.kill(signal);
    await ended;
  }
}
