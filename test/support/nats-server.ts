/**
 * A real nats-server for tests: free ports, JetStream in a folder of its own, everything synced always. Ended by its
 * process id; killed or stopped and started again on the same ports and data when a test wants that.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../scripts/free-port.ts";
import { findNatsServer } from "../../scripts/servers.ts";
import { sharedNatsEnvironment } from "../../scripts/shared-cores.ts";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { connectNats, type NatsSettings } from "../../src/transport/nats-connection.ts";
import { freeze } from "./freeze.ts";

const START_LIMIT_MS = 20_000;

export interface NatsServerOptions {
  /** Lines added to the configuration file. */
  readonly extra?: string;
  /** `sync_interval`. */
  readonly sync?: string;
  readonly maxPayload?: string;
  /** `max_file_store`. */
  readonly storeMax?: string;
  readonly jetStream?: boolean;
  /** Folder for its data; default: the system's for temporary files. */
  readonly parent?: string;
}

export const NO_LOGIN: Omit<NatsSettings, "natsUrl"> = {
  natsUser: null,
  natsPassword: null,
  natsToken: null,
  natsCreds: null,
  natsTlsCa: null,
  natsTlsCert: null,
  natsTlsKey: null,
};

export class TestNatsServer {
  readonly port: number;
  readonly monitorPort: number;
  readonly #root: string;
  readonly #program: string;
  #process: ChildProcess | null = null;

  private constructor(root: string, program: string, port: number, monitorPort: number) {
    this.#root = root;
    this.#program = program;
    this.port = port;
    this.monitorPort = monitorPort;
  }

  static async start(options: NatsServerOptions = {}): Promise<TestNatsServer> {
    const program = await findNatsServer();
    const root = await mkdtemp(join(options.parent ?? tmpdir(), "catchall-nats-"));
    const [port, monitorPort] = [await freePort(), await freePort()];
    const jetStream =
      options.jetStream === false
        ? ""
        : `jetstream { store_dir: "${root}/data", sync_interval: ${options.sync ?? "always"}${
            options.storeMax === undefined ? "" : `, max_file_store: ${options.storeMax}`
          } }`;
    const lines = [
      `listen: "127.0.0.1:${port}"`,
      `http: "127.0.0.1:${monitorPort}"`,
      `max_payload: ${options.maxPayload ?? "2MB"}`,
      jetStream,
      options.extra ?? "",
    ];
    await writeFile(join(root, "nats.conf"), lines.join("\n"));
    const server = new TestNatsServer(root, program, port, monitorPort);
    await server.restart();
    return server;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  get monitorUrl(): string {
    return `http://127.0.0.1:${this.monitorPort}`;
  }

  /** A connection of its own; `settings` adds a login. */
  connect(name = "test", settings: Partial<NatsSettings> = {}): Promise<NatsRequests> {
    return connectNats({ ...NO_LOGIN, natsUrl: this.url, ...settings }, name);
  }

  /** Starts it again after `kill` or `stop`, on the same ports and data. */
  async restart(): Promise<void> {
    const config = join(this.#root, "nats.conf");
    const started = spawn(this.#program, ["-c", config], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...sharedNatsEnvironment() },
    });
    this.#process = started;
    let log = "";
    started.stderr?.on("data", (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4000);
    });
    const deadline = Date.now() + START_LIMIT_MS;
    while (!log.includes("Server is ready") || !(await answers(this.port))) {
      const isGone = started.exitCode !== null || started.signalCode !== null;
      if (isGone || Date.now() > deadline) {
        throw new Error(`nats-server did not start: ${log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
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

  async #end(signal: NodeJS.Signals): Promise<void> {
    const running = this.#process;
    this.#process = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.kill(signal);
    await ended;
  }
}

/**
 * Servers `n1`, `n2`, … that replicate for one another. They take a few seconds to elect their leaders. Clients know only
 * those servers that they were told of, so that a proxy in front of one stays in front of it.
 */
export async function startNatsCluster(
  size: number,
  optionsOf: (i: number) => Pick<NatsServerOptions, "parent"> = () => ({}),
): Promise<readonly TestNatsServer[]> {
  const routePorts: number[] = [];
  while (routePorts.length < size) routePorts.push(await freePort());
  const routes = routePorts.map((port) => `"nats-route://127.0.0.1:${port}"`).join(", ");
  const servers = await Promise.all(
    routePorts.map((port, i) => {
      const listen = `name: test, listen: "127.0.0.1:${port}", no_advertise: true`;
      const extra = `server_name: n${i + 1}\ncluster { ${listen}, routes: [${routes}] }`;
      return TestNatsServer.start({ ...optionsOf(i), extra });
    }),
  );
  return servers;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
