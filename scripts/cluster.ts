/**
 * `npm run cluster`: nats-server, mongod, nodes and a layer-4 balancer on this machine, without containers, with the
 * configuration files of `cluster/`. Ctrl-C stops all in order; a second one at once.
 * Must never leave a process behind, nor restart one that nobody asked for.
 */

import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { LOOPBACK } from "./cluster/addresses.ts";
import { readState, sendCommand, untilEnded } from "./cluster/control.ts";
import { type LaunchOptions, parseLaunch, USAGE } from "./cluster/launch-options.ts";
import { LocalCluster } from "./cluster/local-cluster.ts";
import { isStale } from "./cluster/stale-build.ts";
import { scheduleAsBatch } from "./shared-cores.ts";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const COMMAND = path.join(ROOT, "dist", "cli", "main.js");
const EXIT_USAGE = 2;
const SIGNAL_ECHO_MS = 500;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<number> {
  const launch = parseLaunch(process.argv.slice(2), ROOT);
  if (launch.kind === "help") {
    process.stdout.write(USAGE);
    return 0;
  }
  if (launch.kind === "mistakes") {
    process.stderr.write(`${launch.mistakes.join("\n")}\n${USAGE}`);
    return EXIT_USAGE;
  }
  try {
    if (launch.kind === "command") {
      const { dataDir, words } = launch;
      const state = readState(dataDir);
      say(await sendCommand(dataDir, words));
      if (words[0] === "down" && state !== null) say(await untilEnded(state.pid));
      return 0;
    }
    buildIfStale();
    scheduleAsBatch();
    return await run(launch.options);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

async function run(options: LaunchOptions): Promise<number> {
  let cluster: LocalCluster | null = null;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let signals = 0;
  let firstMs = 0;
  const onSignal = () => {
    // The terminal signals everybody, and npm passes it on: one key, two signals.
    if (signals > 0 && Date.now() - firstMs < SIGNAL_ECHO_MS) return;
    signals++;
    firstMs = Date.now();
    say(signals === 1 ? "Stopping; once more to end at once" : "Ending at once");
    // While it starts, this makes the start fail, which waits for the stop.
    void cluster?.stop(signals > 1);
    end();
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, onSignal);
  say(`Starting ${options.nodes} nodes; logs in ${path.join(options.dataDir, "logs")}`);
  const nodeCommand = [process.execPath, COMMAND];
  try {
    await LocalCluster.start({ ...options, root: ROOT, nodeCommand, say, onDown: end }, (made) => {
      cluster = made;
    });
  } catch (error) {
    if (signals > 0) return 0;
    throw error;
  }
  const started = cluster as LocalCluster | null;
  if (started === null) return 1;
  if (signals === 0) say(describe(started, options));
  await ended;
  await started.stop();
  say(options.keepsData ? `Stopped; the data is in ${options.dataDir}` : "Stopped");
  return 0;
}

function describe(cluster: LocalCluster, options: LaunchOptions): string {
  const scheme = options.nodeFlags.some((flag) => flag.startsWith("--tls-cert="))
    ? "https"
    : "http";
  const url = `${scheme}://${LOOPBACK}:${cluster.port}`;
  const isDefault = options.dataDir === path.join(ROOT, ".cache", "cluster");
  const suffix = isDefault ? "" : ` --data-dir ${options.dataDir}`;
  const control = (words: string) => `npm run cluster -- ${words}${suffix}`;
  const nodes = cluster.nodes.map(
    ({ id, port, pid }) => `  ${id.padEnd(9)} ${scheme}://${LOOPBACK}:${port}  pid ${pid}`,
  );
  const nats = cluster.addresses.nats.map(({ host, port }) => `${host}:${port}`).join(", ");
  return [
    "",
    `catchall cluster: ${cluster.nodes.length} nodes, ${options.replicas} nats-server, 1 mongod`,
    `  clients   ${url}  (any node answers for every domain; balancer: ${cluster.proxyKind})`,
    ...nodes,
    `  nats      ${nats}   mongod    ${LOOPBACK}:${cluster.addresses.mongoPort}`,
    "",
    "Try:",
    `  curl -i -X PUT ${url}/events/example.com/delivered && curl ${url}/domains/example.com`,
    `  npx catchall load --url ${url} --mix challenge --events 1000000 --verify`,
    `  npx catchall status --url ${url}`,
    "From another terminal, also while the load runs:",
    `  ${control("kill n1")}        (kill -9), then: ${control("start n1")}`,
    `  ${control("join")}           adds a node, then: npx catchall rebalance --watch --url ${url}`,
    `  ${control("stop mongod")}    then: ${control("start mongod")}`,
    `  ${control("restart nats-1")} and: ${control("status")}`,
    `Logs: ${path.join(options.dataDir, "logs")}. Ctrl-C stops everything in order.`,
  ].join("\n");
}

/** Errors: it does not compile. */
function buildIfStale(): void {
  if (!isStale(COMMAND, [path.join(ROOT, "src"), path.join(ROOT, "tsconfig.build.json")])) return;
  say("Building");
  const built = spawnSync(process.execPath, [path.join(ROOT, "scripts", "build.mjs")], {
    cwd: ROOT,
    stdio: "inherit",
  });
  if (built.status !== 0) throw new Error("The build failed");
}

process.exitCode = await main();
