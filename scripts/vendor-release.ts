/**
 * Fetches a server's program from its vendor's release: archive and published SHA-256, then unpacks one file of it.
 * Every wait is bounded: a machine without the internet learns that within seconds, not minutes.
 * Must never hand out a program whose bytes are not those that the vendor published.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

export interface VendorRelease {
  /** A .tgz with the program somewhere inside. */
  readonly url: string;
  /** Lines "<sha256>  <file name>". */
  readonly checksumUrl: string;
}

export interface FetchLimits {
  /** Until the headers of an answer are there. */
  readonly answerMs: number;
  /** Until the last byte. */
  readonly bodyMs: number;
  readonly bytesMin: number;
  readonly bytesMax: number;
}

export const FETCH_LIMITS: FetchLimits = {
  answerMs: 5_000,
  bodyMs: 300_000,
  bytesMin: 1_000_000,
  bytesMax: 500_000_000,
};

const CHECKSUM_FILE_BYTES_MAX = 1_000_000;
const UNPACK_TIMEOUT_MS = 120_000;

export type Fetch = (url: string, options: { readonly signal: AbortSignal }) => Promise<Response>;

/** What a system calls itself: for archives that are made for one distribution. */
export interface Platform {
  readonly os: string;
  readonly cpu: string;
  /** ID and VERSION_ID of /etc/os-release, such as "debian12"; "" elsewhere. */
  readonly distribution: string;
}

/** Null where the vendor makes none for this machine. */
export function natsRelease(version: string, { os, cpu }: Platform): VendorRelease | null {
  const arch = ({ x64: "amd64", arm64: "arm64" } as Record<string, string>)[cpu];
  if (arch === undefined || !["linux", "darwin"].includes(os)) return null;
  const base = `https://github.com/nats-io/nats-server/releases/download/v${version}`;
  return {
    url: `${base}/nats-server-v${version}-${os}-${arch}.tar.gz`,
    checksumUrl: `${base}/SHA256SUMS`,
  };
}

const MONGO_DISTRIBUTIONS: Readonly<Record<string, readonly string[]>> = {
  debian12: ["x64"],
  "ubuntu22.04": ["x64", "arm64"],
  "ubuntu24.04": ["x64", "arm64"],
};

/** Null where the vendor makes none for this machine. */
export function mongoRelease(version: string, platform: Platform): VendorRelease | null {
  const { os, cpu, distribution } = platform;
  if (os === "darwin") {
    const arch = cpu === "arm64" ? "arm64" : "x86_64";
    const url = `https://fastdl.mongodb.org/osx/mongodb-macos-${arch}-${version}.tgz`;
    return { url, checksumUrl: `${url}.sha256` };
  }
  if (os !== "linux" || MONGO_DISTRIBUTIONS[distribution]?.includes(cpu) !== true) return null;
  const arch = cpu === "arm64" ? "aarch64" : "x86_64";
  const name = `mongodb-linux-${arch}-${distribution.replace(".", "")}-${version}.tgz`;
  const url = `https://fastdl.mongodb.org/linux/${name}`;
  return { url, checksumUrl: `${url}.sha256` };
}

/** Path of the unpacked program below `directory`. Errors: what was refused, or did not come in time. */
export async function fetchRelease(
  release: VendorRelease,
  program: string,
  directory: string,
  options: { readonly fetch: Fetch; readonly limits: FetchLimits },
): Promise<string> {
  const { fetch, limits } = options;
  const sums = await fetchBytes(release.checksumUrl, fetch, {
    ...limits,
    bytesMin: 64,
    bytesMax: CHECKSUM_FILE_BYTES_MAX,
  });
  const expected = checksumOf(Buffer.from(sums).toString("utf8"), basename(release.url));
  const archive = await fetchBytes(release.url, fetch, limits);
  const actual = createHash("sha256").update(archive).digest("hex");
  if (actual !== expected) {
    throw new Error(`${release.url} has the checksum ${actual}, its vendor says ${expected}`);
  }
  const file = join(directory, "archive.tgz");
  await writeFile(file, archive);
  const unpacked = spawnSync("tar", ["-xzf", file, "-C", directory], {
    encoding: "utf8",
    timeout: UNPACK_TIMEOUT_MS,
  });
  if (unpacked.status !== 0) throw new Error(`tar cannot unpack it: ${unpacked.stderr ?? ""}`);
  return await findProgram(directory, program);
}

/** The file of that name below `directory`. Errors: none there. */
export async function findProgram(directory: string, program: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const found = entries.find((entry) => entry.isFile() && entry.name === program);
  if (found === undefined) throw new Error(`there is no ${program} in it`);
  return join(found.parentPath, found.name);
}

/** Such as "debian12", "ubuntu22.04". */
export async function distributionName(path = "/etc/os-release"): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(text)?.[1] ?? "";
  return field("ID") + field("VERSION_ID");
}

function checksumOf(text: string, name: string): string {
  for (const line of text.split("\n")) {
    const [sum = "", file = ""] = line.trim().split(/\s+/);
    if (/^[0-9a-f]{64}$/i.test(sum) && basename(file.replace(/^\*/, "")) === name) {
      return sum.toLowerCase();
    }
  }
  throw new Error(`its vendor's checksums do not name ${name}`);
}

async function fetchBytes(url: string, fetch: Fetch, limits: FetchLimits): Promise<Uint8Array> {
  const abort = new AbortController();
  // Not left to the signal alone: name resolution and proxies have been seen to ignore it.
  const within = async <T>(work: Promise<T>, ms: number, what: string): Promise<T> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`${url} ${what} within ${ms / 1000} s`));
        abort.abort();
      }, ms);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  };
  const asked = fetch(url, { signal: abort.signal }).catch((cause: unknown) => {
    throw new Error(`${url} cannot be reached`, { cause });
  });
  const response = await within(asked, limits.answerMs, "did not answer");
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return await within(readBody(url, response, limits), limits.bodyMs, "did not arrive");
}

async function readBody(url: string, response: Response, limits: FetchLimits): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > limits.bytesMax) throw new Error(`${url} is over ${limits.bytesMax} bytes`);
    chunks.push(chunk);
  }
  if (length < limits.bytesMin) throw new Error(`${url} has ${length} bytes, which is too few`);
  return Buffer.concat(chunks);
}
