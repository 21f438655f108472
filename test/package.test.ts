/** What the package promises to those who install it: a lock file that fits every system, exact versions, entry points. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { missingEntries } from "../scripts/lock.ts";

const ROOT: string = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly allowScripts: Readonly<Record<string, boolean>>;
}

interface Lock {
  readonly packages: Record<
    string,
    { readonly version?: string; readonly hasInstallScript?: boolean }
  >;
}

function read<T>(name: string): T {
  return JSON.parse(readFileSync(path.join(ROOT, name), "utf8")) as T;
}

describe("Package", () => {
  const manifest = read<Manifest>("package.json");
  const lock = read<Lock>("package-lock.json");

  it("has a lock file for every system (else: npm run lock)", () => {
    assert.deepEqual([...missingEntries(lock).keys()], []);
  });

  it("names exact versions", () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    assert.deepEqual(
      versions.filter(([, version]) => !/^(?:npm:[a-z-]+@)?\d+\.\d+\.\d+$/.test(version)),
      [],
    );
  });

  it("decides about the install script of every package that has one", () => {
    const undecided = Object.entries(lock.packages)
      .filter(([, entry]) => entry.hasInstallScript === true)
      .map(([key]) => key.slice(key.lastIndexOf("node_modules/") + "node_modules/".length))
      .filter((name) => manifest.allowScripts[name] === undefined);
    assert.deepEqual(undecided, []);
  });
});

describe("missingEntries", () => {
  it("finds the binary of another system and says where it fits", () => {
    const tool = { optionalDependencies: { "@a/cli-linux-x64-musl": "1.2.3" }, dev: true };
    const entry = { version: "1.2.3", cpu: ["x64"], dev: true, libc: ["musl"] };
    assert.deepEqual(
      [...missingEntries({ packages: { "node_modules/a": tool } })],
      [["node_modules/@a/cli-linux-x64-musl", { ...entry, optional: true, os: ["linux"] }]],
    );
  });

  it("leaves alone what is listed", () => {
    const tool = { optionalDependencies: { b: "1.0.0" } };
    const packages = { "node_modules/a": tool, "node_modules/b": { version: "1.0.0" } };
    assert.equal(missingEntries({ packages }).size, 0);
  });
});
