/**
 * Property-based requests from `/openapi.json`, made by schemathesis, against built nodes: with both HTTP servers, and
 * with a tokens file as well. Fails for any answer whose status, media type, headers or shape is not declared, for an
 * error of the server, for malformed input that is taken, and for a route that can be read without its token.
 * schemathesis is installed into the project's cache folder, once; without python3 or a registry that is an error.
 * Usage: `openapi-fuzz.ts [--examples N] [--seed S] [--http uws|node]`.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { NodeProcess } from "../test/support/node-process.ts";
import { freePort } from "./free-port.ts";

const REQUIREMENT = "schemathesis==4.32.5";
const CACHE = fileURLToPath(new URL("../.cache/schemathesis", import.meta.url));
const PROGRAM = join(CACHE, "bin", "schemathesis");
const INSTALL_LIMIT_MS = 600_000;

/** Event streams have no end; test/server/openapi-answers.test.ts asks for them. */
const STREAMS = ["/changes", "/domains/{domain}/watch"];

/** Every check but what can't hold here by design. Not by flags: those would win over what single routes leave out. */
const CONFIG = `
[[operations]]
# Bad lines of a good body are told one by one, with 200.
include-operation-id = "postEvents"
checks.negative_data_rejection.enabled = false

[[operations]]
# "?dryRun" and "?dryRun=" are a dry run too.
include-operation-id = ["rebalance", "putRule"]
checks.negative_data_rejection.enabled = false

[checks]
# Which names are domains, and which cursors are ours, no schema can say.
positive_data_acceptance.enabled = false
# A dry run answers the id of a rebalance that nobody started.
ensure_resource_availability.enabled = false
# /domains/lookup is also a domain that can be asked for, with GET.
allow_header_conformance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 422, 429, 431]
`;

interface Options {
  readonly examples: string;
  readonly seed: string;
}

interface Setup {
  readonly http: string;
  readonly hasTokens: boolean;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      examples: { type: "string", default: "50" },
      seed: { type: "string", default: "1" },
      http: { type: "string" },
    },
  });
  install();
  const kinds = ["uws", "node"].filter((http) => (values.http ?? http) === http);
  const setups = kinds.flatMap((http) => [
    { http, hasTokens: false },
    { http, hasTokens: true },
  ]);
  let failures = 0;
  for (const setup of setups) {
    console.log(`\n--http ${setup.http}, ${setup.hasTokens ? "with" : "without"} tokens`);
    if ((await fuzz(setup, values)) !== 0) failures++;
  }
  return failures === 0 && setups.length > 0 ? 0 : 1;
}

function install(): void {
  if (
    existsSync(PROGRAM) &&
    run(PROGRAM, ["--version"]).includes(REQUIREMENT.split("==")[1] ?? "")
  ) {
    return;
  }
  console.log(`installing ${REQUIREMENT} into ${CACHE}`);
  run("python3", ["-m", "venv", "--clear", CACHE]);
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT];
  run(join(CACHE, "bin", "python"), pip);
}

function run(program: string, args: readonly string[]): string {
  const result = spawnSync(program, args, { encoding: "utf8", timeout: INSTALL_LIMIT_MS });
  if (result.status === 0) return result.stdout;
  const reason = result.error?.message ?? result.stderr.trim().split("\n").at(-1);
  throw new Error(`${REQUIREMENT} can't be installed with python3 (3.10 or later, pip): ${reason}`);
}

async function fuzz({ http, hasTokens }: Setup, options: Options): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "catchall-openapi-fuzz-"));
  const flags = ["--http", http, "--log-level", "warn"];
  const token = randomBytes(32).toString("base64url");
  if (hasTokens) flags.push("--tokens-file", await writeTokens(directory, token));
  let node: NodeProcess | null = null;
  try {
    const dataDir = join(directory, "data");
    node = await NodeProcess.start({ port: await freePort(), dataDir, flags });
    const authorization = hasTokens ? ["-H", `Authorization: Bearer ${token}`] : [];
    const config = join(directory, "schemathesis.toml");
    await writeFile(config, CONFIG);
    const code = await schemathesis(directory, [
      ...["--config-file", config, "run", `${node.url}/openapi.json`, ...authorization],
      ...STREAMS.flatMap((path) => ["--exclude-path", path]),
      ...["--max-examples", options.examples, "--seed", options.seed, "--no-shrink"],
      ...["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"],
      ...["--request-timeout", "30", "--no-color"],
    ]);
    if (code !== 0) console.log(node.output);
    if (!node.isRunning) throw new Error(`the node ended: ${node.output}`);
    return code;
  } finally {
    await node?.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function writeTokens(directory: string, token: string): Promise<string> {
  const path = join(directory, "tokens.jsonl");
  const sha256 = createHash("sha256").update(token).digest("hex");
  await writeFile(path, `${JSON.stringify({ name: "fuzz", sha256, roles: ["admin"] })}\n`, {
    mode: 0o600,
  });
  return path;
}

function schemathesis(directory: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(PROGRAM, args, { cwd: directory, stdio: ["ignore", "inherit", "inherit"] });
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
}

process.exitCode = await main();
