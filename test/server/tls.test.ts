/** `--tls-cert` and `--tls-key` with a real process: verified TLS, nothing below 1.2, no plain HTTP, wrong files say so. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { exchange } from "../support/raw-http.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const DATA = fileURLToPath(new URL("../http/data/", import.meta.url));
const CERT = `${DATA}test-only-cert.pem`;
const KEY = `${DATA}test-only-key.pem`;
const START_MS_MAX = 30_000;

class Served {
  output = "";
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(flags: readonly string[]) {
    const command = ["--import", "tsx", "src/cli/main.ts", "serve", "--port", "0", ...flags];
    this.child = spawn(process.execPath, command, {
      cwd: ROOT,
      env: { PATH: process.env["PATH"] },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const keep = (chunk: Buffer): void => {
      this.output += chunk.toString();
      if (this.output.includes("Try: ")) this.child.emit("banner");
    };
    this.child.stdout?.on("data", keep);
    this.child.stderr?.on("data", keep);
    this.ended = once(this.child, "close").then(([code]) => code as number | null);
  }

  async port(): Promise<number> {
    const limit = AbortSignal.timeout(START_MS_MAX);
    await Promise.race([once(this.child, "banner", { signal: limit }), this.ended]);
    const match = /serves https:\/\/127\.0\.0\.1:(\d+)/.exec(this.output);
    assert.ok(match !== null, this.output);
    return Number(match[1]);
  }
}

/** Verifies the certificate, as any client must. */
function ask(port: number, method: string, path: string, ca: Buffer): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, method, path, ca, agent: false });
    asked.on("error", reject);
    asked.on("response", (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => resolve([response.statusCode ?? 0, text]));
    });
    asked.end();
  });
}

function protocolOf(port: number, ca: Buffer, version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") {
  return new Promise<string | null>((resolve) => {
    const limits = { minVersion: version, maxVersion: version } as const;
    // The lower levels of security let this client offer what the server must refuse.
    const options = { host: "127.0.0.1", port, ca, ...limits, ciphers: "DEFAULT@SECLEVEL=0" };
    const socket = connect(options, () => {
      resolve(socket.getProtocol());
      socket.destroy();
    });
    socket.on("error", () => resolve(null));
  });
}

for (const kind of ["uws", "node"] as const) {
  describe(`TLS over ${kind}`, { timeout: 90_000 }, () => {
    let root = "";
    const started: Served[] = [];
    const start = (data: string, cert: string, key: string): Served => {
      const flags = ["--http", kind, "--data-dir", join(root, data)];
      const served = new Served([...flags, "--tls-cert", cert, "--tls-key", key]);
      started.push(served);
      return served;
    };

    before(async () => {
      root = await mkdtemp(join(tmpdir(), "catchall-tls-"));
    });

    after(async () => {
      for (const { child, ended } of started) {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
        await ended;
      }
      await rm(root, { recursive: true, force: true });
    });

    it("counts and answers over a verified connection of TLS 1.2 or 1.3, and over nothing else", async () => {
      const served = start("data", CERT, KEY);
      const port = await served.port();
      const ca = await readFile(CERT);
      assert.equal((await ask(port, "PUT", "/events/a.example/bounced", ca))[0], 204);
      const [status, text] = await ask(port, "GET", "/domains/a.example", ca);
      assert.deepEqual([status, (JSON.parse(text) as { bounced: number }).bounced], [200, 1]);
      assert.deepEqual(
        [
          await protocolOf(port, ca, "TLSv1.1"),
          await protocolOf(port, ca, "TLSv1.2"),
          await protocolOf(port, ca, "TLSv1.3"),
        ],
        [null, "TLSv1.2", "TLSv1.3"],
      );
      const plain = "PUT /events/a.example/bounced HTTP/1.1\r\nHost: a\r\n\r\n";
      const outcome = await exchange(port, plain, { timeoutMs: 500 }).catch(() => null);
      assert.deepEqual(outcome?.responses.filter((each) => each.status < 300) ?? [], []);
      const again = await ask(port, "GET", "/domains/a.example", ca);
      assert.equal((JSON.parse(again[1]) as { bounced: number }).bounced, 1);
      served.child.kill("SIGTERM");
      assert.equal(await served.ended, 0);
    });

    it("does not start without its files, or with files that are none, and names the trouble", async () => {
      const broken = join(root, "broken.pem");
      await writeFile(broken, "no certificate");
      for (const [cert, key] of [
        [join(root, "missing.pem"), KEY],
        [CERT, join(root, "missing.pem")],
        [broken, KEY],
        [CERT, broken],
      ] as const) {
        const served = start(`none${started.length}`, cert, key);
        const code = await served.ended;
        assert.equal(code, 78);
        assert.doesNotMatch(served.output, /serves http/);
        assert.ok(served.output.includes(`--tls-cert "${cert}" and --tls-key "${key}"`));
        assert.ok(served.output.length < 20_000, "a start says little");
      }
    });
  });
}
