/** Every layer, every kind of mistake, and that nothing secret is ever shown. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type Config,
  type ConfigSources,
  describeConfig,
  loadConfig,
} from "../../src/config/config.ts";
import { OPTIONS } from "../../src/config/options.ts";

function load(sources: Partial<ConfigSources> & { readonly file?: unknown } = {}) {
  const { file, ...given } = sources;
  const readFile = (path: string): string => {
    if (file === undefined) throw new Error(`ENOENT: no such file, open '${path}'`);
    return typeof file === "string" ? file : JSON.stringify(file);
  };
  return loadConfig({ argv: [], env: {}, readFile, hostName: "mail-7", ...given });
}

function config(...args: Parameters<typeof load>): Config {
  const result = load(...args);
  if ("mistakes" in result) assert.fail(result.mistakes.join("\n"));
  return result.config;
}

function mistakes(...args: Parameters<typeof load>): readonly string[] {
  const result = load(...args);
  if ("config" in result) assert.fail("the configuration was accepted");
  return result.mistakes;
}

const NATS = ["--nats-url", "nats://a:4222", "--mongo-url", "mongodb://m"];
const FILE = ["--config", "node.json"];

describe("loadConfig", () => {
  it("gives the documented defaults when nothing is given", () => {
    assert.deepEqual(config(), {
      host: "127.0.0.1",
      port: 8080,
      http: "auto",
      dataDir: "./data",
      nodeId: "mail-7-8080",
      natsUrl: null,
      natsMonitorUrl: null,
      natsUser: null,
      natsPassword: null,
      natsToken: null,
      natsCreds: null,
      natsTlsCa: null,
      natsTlsCert: null,
      natsTlsKey: null,
      mongoUrl: null,
      clusterName: "catchall",
      partitions: 64,
      walReplicas: 1,
      leaseTtlMs: 5000,
      autoRebalance: false,
      expectNodes: 1,
      idempotencyWindowMs: 600_000,
      idempotencyMaxKeys: 4_000_000,
      logRetentionMs: 0,
      logBytesMax: null,
      checkpointIntervalMs: 60_000,
      deliveredThreshold: 1000,
      maxBodyBytes: 8_388_608,
      maxPendingEvents: 100_000,
      tokensFile: null,
      tlsCert: null,
      tlsKey: null,
      shutdownTimeoutMs: 30_000,
      logLevel: "info",
      otlpEndpoint: null,
    });
  });

  it("prefers flag to environment to file to default", () => {
    const file = { port: 1, host: "f", "data-dir": "file", "lease-ttl": "7s" };
    const env = { CATCHALL_PORT: "2", CATCHALL_HOST: "e" };
    const loaded = config({ argv: [...FILE, "--port", "3"], env, file });
    assert.equal(loaded.port, 3);
    assert.equal(loaded.host, "e");
    assert.equal(loaded.dataDir, "file");
    assert.equal(loaded.leaseTtlMs, 7000);
    assert.equal(loaded.partitions, 64);
  });

  it("takes every option from a flag, from the environment and from the file alike", () => {
    const texts: Record<string, string> = {
      "nats-url": "nats://a",
      "mongo-url": "mongodb://m",
      "otlp-endpoint": "http://o",
      "log-bytes-max": "1GiB",
      host: "h",
      "node-id": "n",
    };
    const wanted = new Map(
      OPTIONS.map(({ flag, kind, default: fallback }) => {
        const text = texts[flag] ?? (kind.type === "boolean" ? "true" : (fallback ?? "x"));
        return [flag, text] as const;
      }),
    );
    // Only one way to log in to NATS may be given.
    for (const flag of ["nats-token", "nats-creds"]) wanted.delete(flag);
    const argv = [...wanted].flatMap(([flag, text]) => [`--${flag}`, text]);
    const env = Object.fromEntries(
      [...wanted].map(([flag, text]) => [
        `CATCHALL_${flag.toUpperCase().replaceAll("-", "_")}`,
        text,
      ]),
    );
    const fromFlags = config({ argv });
    assert.deepEqual(config({ env }), fromFlags);
    assert.deepEqual(config({ argv: FILE, file: Object.fromEntries(wanted) }), fromFlags);
    assert.equal(fromFlags.autoRebalance, true);
    assert.equal(fromFlags.natsPassword, "x");
  });

  it("has exactly the fields of the table", () => {
    assert.deepEqual(Object.keys(config()).sort(), OPTIONS.map((option) => option.field).sort());
  });

  it("freezes what it gives", () => {
    assert.ok(Object.isFrozen(config()));
  });

  it("takes --flag=value, a bare boolean flag and the last of a repeated flag", () => {
    const loaded = config({ argv: ["--port=9000", "--auto-rebalance", "--port", "9001"] });
    assert.equal(loaded.port, 9001);
    assert.equal(loaded.autoRebalance, true);
    assert.equal(config({ argv: ["--auto-rebalance", "false"] }).autoRebalance, false);
    assert.equal(config({ argv: ["--auto-rebalance=false"] }).autoRebalance, false);
  });

  it("takes file keys in camel case, and numbers and booleans as they are", () => {
    const file = { port: 9000, leaseTtl: "2s", autoRebalance: true, maxBody: 2048, nodeId: null };
    const loaded = config({ argv: FILE, file });
    assert.deepEqual(
      [loaded.port, loaded.leaseTtlMs, loaded.autoRebalance, loaded.maxBodyBytes, loaded.nodeId],
      [9000, 2000, true, 2048, "mail-7-9000"],
    );
  });

  it("finds the file by CATCHALL_CONFIG as well", () => {
    assert.equal(config({ env: { CATCHALL_CONFIG: "x.json" }, file: { port: 5 } }).port, 5);
  });

  it("counts an empty environment value as not given", () => {
    assert.equal(config({ env: { CATCHALL_TOKENS_FILE: "", CATCHALL_PORT: "" } }).port, 8080);
  });

  it("leaves the names of the command line and the launchers alone", () => {
    const env = {
      CATCHALL_URL: "x",
      CATCHALL_TOKEN: "x",
      CATCHALL_NATS_SERVER: "x",
      CATCHALL_MONGOD: "x",
      PATH: "x",
    };
    assert.equal(config({ env }).port, 8080);
  });

  it("names a node after host and port, without characters that a name can't have", () => {
    assert.equal(
      config({ hostName: "büro pc.local", argv: ["--port", "1"] }).nodeId,
      "b-ro-pc.local-1",
    );
    assert.equal(config({ hostName: "" }).nodeId, "node-8080");
  });

  it("reads durations in ms, s, m, h", () => {
    for (const [text, ms] of [
      ["1000ms", 1000],
      ["2s", 2000],
      ["3m", 180_000],
      ["1.5s", 1500],
    ] as const) {
      assert.equal(config({ argv: ["--lease-ttl", text] }).leaseTtlMs, ms);
    }
    assert.equal(config({ argv: ["--log-retention", "2h"] }).logRetentionMs, 7_200_000);
    assert.equal(config({ argv: ["--log-retention", "0"] }).logRetentionMs, 0);
    assert.equal(config({ argv: [] }).logBytesMax, null);
    assert.equal(config({ argv: ["--log-bytes-max", "2GiB"] }).logBytesMax, 2 * 1024 ** 3);
  });

  it("reads sizes in bytes, KiB, MiB, GiB", () => {
    for (const [text, bytes] of [
      ["2048", 2048],
      ["2048B", 2048],
      ["2KiB", 2048],
      ["1.5MiB", 1_572_864],
    ] as const) {
      assert.equal(config({ argv: ["--max-body", text] }).maxBodyBytes, bytes);
    }
    assert.match(mistakes({ argv: ["--max-body", "1GiB"] })[0] ?? "", /from 1KiB to 256MiB/);
  });

  it("takes several NATS servers and hosts of a MongoDB replica set", () => {
    const argv = [
      "--nats-url",
      "nats://a:4222, b:4222",
      "--mongo-url",
      "mongodb://u:p@m1,m2/?replicaSet=r",
    ];
    assert.equal(config({ argv }).natsUrl, "nats://a:4222,b:4222");
  });

  it("allows any host without a tokens file: access is limited elsewhere", () => {
    assert.equal(config({ argv: ["--host", "0.0.0.0"] }).host, "0.0.0.0");
  });
});

describe("mistakes of the configuration", () => {
  const cases: readonly (readonly [readonly string[], string])[] = [
    [["--prot", "1"], "--prot is not an option; did you mean --port?"],
    [["--zzzzzzzz"], "--zzzzzzzz is not an option"],
    [["9000"], '"9000" is not an option; options look like --port 8080'],
    [["--port"], "--port needs a value"],
    [["--port", "--host", "h"], "--port needs a value"],
    [["--port", "x"], '--port must be a whole number from 0 to 65535, not "x"'],
    [["--port", "65536"], '--port must be a whole number from 0 to 65535, not "65536"'],
    [["--port", "-1"], '--port must be a whole number from 0 to 65535, not "-1"'],
    [["--port", "1e3"], '--port must be a whole number from 0 to 65535, not "1e3"'],
    [["--port="], '--port must be a whole number from 0 to 65535, not ""'],
    [["--partitions", "48"], '--partitions must be a power of two from 1 to 65536, not "48"'],
    [["--partitions", "0"], '--partitions must be a power of two from 1 to 65536, not "0"'],
    [
      ["--partitions", "131072"],
      '--partitions must be a power of two from 1 to 65536, not "131072"',
    ],
    [
      ["--lease-ttl", "999ms"],
      '--lease-ttl must be a duration from 1s to 10m (units ms, s, m, h), not "999ms"',
    ],
    [
      ["--lease-ttl", "5"],
      '--lease-ttl must be a duration from 1s to 10m (units ms, s, m, h), not "5"',
    ],
    [
      ["--lease-ttl", "5d"],
      '--lease-ttl must be a duration from 1s to 10m (units ms, s, m, h), not "5d"',
    ],
    [
      ["--max-body", "8MB"],
      '--max-body must be a size from 1KiB to 256MiB (units KiB, MiB, GiB), not "8MB"',
    ],
    [
      ["--log-level", "loud"],
      '--log-level must be one of trace, debug, info, warn, error, fatal, silent, not "loud"',
    ],
    [["--http", "h2"], '--http must be one of auto, uws, node, not "h2"'],
    [["--auto-rebalance=yes"], '--auto-rebalance must be true or false, not "yes"'],
    [
      ["--node-id", "a b"],
      '--node-id must be 1 to 128 letters, digits, dots, hyphens or underscores, not "a b"',
    ],
    [
      ["--cluster-name", "a.b"],
      '--cluster-name must be 1 to 32 letters, digits, hyphens or underscores, not "a.b"',
    ],
    [["--data-dir", ""], '--data-dir must be a path, not ""'],
    [
      ["--otlp-endpoint", "o:4318"],
      '--otlp-endpoint must be a URL that starts with http:// or https://, not "o:4318"',
    ],
    [
      ["--nats-url", "http://a"],
      '--nats-url must be servers such as nats://host:4222, separated by commas, not "http://a"',
    ],
    [
      ["--nats-url", "nats://a"],
      "--nats-url needs --mongo-url: a cluster keeps its checkpoints in MongoDB",
    ],
    [
      ["--mongo-url", "mongodb://m"],
      "--mongo-url needs --nats-url: a node without NATS is embedded and keeps everything in --data-dir",
    ],
    [
      ["--nats-token", "t"],
      "--nats-token needs --nats-url: a node without NATS is embedded and keeps everything in --data-dir",
    ],
    [["--tls-cert", "c"], "--tls-cert needs --tls-key"],
    [["--tls-key", "k"], "--tls-key needs --tls-cert"],
    [[...NATS, "--nats-user", "u"], "--nats-user needs --nats-password"],
    [[...NATS, "--nats-tls-key", "k"], "--nats-tls-key needs --nats-tls-cert"],
    [
      [...NATS, "--nats-token", "t", "--nats-creds", "c"],
      "Only one of --nats-user, --nats-token and --nats-creds may be given",
    ],
    [
      ["--partitions", "2", "--expect-nodes", "3"],
      "--expect-nodes 3 is more than --partitions 2: some nodes would own nothing",
    ],
  ];
  for (const [argv, sentence] of cases) {
    it(`says of ${JSON.stringify(argv.join(" "))}: ${sentence}`, () => {
      assert.deepEqual(mistakes({ argv }), [sentence]);
    });
  }

  it("lists all mistakes of all layers, not only the first", () => {
    const argv = [...FILE, "--port", "x", "--tls-cert", "c"];
    const found = mistakes({ argv, env: { CATCHALL_HOSTT: "h" }, file: { "lease-tl": "1s" } });
    assert.deepEqual(found, [
      "CATCHALL_HOSTT is not an option; did you mean CATCHALL_HOST?",
      '"lease-tl" in node.json is not an option; did you mean lease-ttl?',
      '--port must be a whole number from 0 to 65535, not "x"',
      "--tls-cert needs --tls-key",
    ]);
  });

  it("checks a value even where another layer overrides it", () => {
    const found = mistakes({ argv: ["--port", "1"], env: { CATCHALL_PORT: "x" } });
    assert.deepEqual(found, ['CATCHALL_PORT must be a whole number from 0 to 65535, not "x"']);
  });

  it("adds no second mistake for a relation of a value that is wrong itself", () => {
    const found = mistakes({ argv: ["--nats-url", "nats://a", "--mongo-url", "http://m"] });
    assert.deepEqual(found, [
      "--mongo-url must be a URL that starts with mongodb:// or mongodb+srv://",
    ]);
  });

  it("names a file that is missing, is not JSON, is no object, or has a value of a wrong type", () => {
    assert.match(
      mistakes({ argv: FILE })[0] ?? "",
      /^The configuration file "node.json" can't be read: ENOENT/,
    );
    const invalid = ['The configuration file "node.json" is not valid JSON'];
    assert.deepEqual(mistakes({ argv: FILE, file: "{secret" }), invalid);
    const shape = ['The configuration file "node.json" must hold one JSON object'];
    for (const file of ["[]", "1", "null"]) assert.deepEqual(mistakes({ argv: FILE, file }), shape);
    const type = ['"host" in node.json must be a string, a number or a boolean'];
    assert.deepEqual(mistakes({ argv: FILE, file: { host: ["a"] } }), type);
  });

  it("refuses a key that stands in the file in both spellings", () => {
    const found = mistakes({ argv: FILE, file: { "lease-ttl": "2s", leaseTtl: "3s" } });
    assert.deepEqual(found, [
      '"leaseTtl" in node.json is given twice, as "lease-ttl" and as "leaseTtl"',
    ]);
  });

  it("never takes __proto__ or constructor for an option", () => {
    const found = mistakes({ argv: [...FILE, "--constructor", "x"], file: '{"__proto__":"x"}' });
    assert.equal(found.length, 2);
  });

  it("never quotes a secret", () => {
    const found = [
      ...mistakes({ argv: ["--mongo-url", "mongo://u:hunter2@m"] }),
      ...mistakes({ argv: ["--nats-url", "http://u:hunter2@n"] }),
      ...mistakes({ argv: FILE, file: '{"nats-password":"hunter2"' }),
    ];
    assert.ok(found.length >= 3);
    assert.doesNotMatch(found.join(" "), /hunter2/);
  });
});

describe("describeConfig", () => {
  it("shows values as one would write them, and no secret", () => {
    const login = ["--nats-user", "u", "--nats-password", "hunter2"];
    const argv = [
      ...login,
      "--nats-url",
      "nats://a:hunter2@n1,n2",
      "--mongo-url",
      "mongodb://u:hunter2@m/?tls=true&x=hunter2",
    ];
    const shown = describeConfig(config({ argv }));
    assert.equal(shown["nats-url"], "nats://***@n1,n2");
    assert.equal(shown["mongo-url"], "mongodb://***@m/?***");
    assert.equal(shown["nats-password"], "***");
    assert.equal(shown["lease-ttl"], "5s");
    assert.equal(shown["idempotency-window"], "10m");
    assert.equal(shown["max-body"], "8MiB");
    assert.equal(shown["tls-cert"], "");
    assert.doesNotMatch(JSON.stringify(shown), /hunter2/);
  });
});
