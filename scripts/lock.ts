/**
 * `npm run lock`: completes package-lock.json with the optional packages of other systems.
 *
 * npm leaves a platform's binary out of the lock file when the registry in use does not offer it, and then `npm ci` fails
 * on every machine whose registry does ("Missing … from lock file"). Run it after each `npm install` that changes the lock.
 * Must never change an entry that npm wrote. Entries made here have no integrity: npm adds it where it can see the package.
 */

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const LOCK: string = path.join(
  path.dirname(path.dirname(fileURLToPath(import.meta.url))),
  "package-lock.json",
);

interface LockEntry {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly dev?: boolean;
  readonly [field: string]: unknown;
}

interface LockFile {
  packages: Record<string, LockEntry>;
}

const SYSTEMS = ["android", "darwin", "freebsd", "linux", "openharmony", "win32"];
const PROCESSORS = ["arm64", "arm", "x64", "ia32", "ppc64", "riscv64", "s390x"];

/** Optional packages that the lock file should list and does not, with the entry for each. */
export function missingEntries(lock: LockFile): ReadonlyMap<string, LockEntry> {
  const found = new Map<string, LockEntry>();
  for (const entry of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const key = `node_modules/${name}`;
      const isListed = Object.keys(lock.packages).some((known) => known.endsWith(key));
      // A range can't be turned into a version here; platform packages are always exact.
      if (!isListed && /^\d/.test(version)) found.set(key, entryOf(name, version, entry));
    }
  }
  return found;
}

function entryOf(name: string, version: string, parent: LockEntry): LockEntry {
  const words = name.split(/[-/]/);
  const cpu = PROCESSORS.filter((processor) => words.includes(processor));
  const os = SYSTEMS.filter((system) => words.includes(system));
  const libc = words.some((word) => word.startsWith("musl")) ? ["musl"] : ["glibc"];
  return {
    version,
    ...(cpu.length > 0 ? { cpu } : {}),
    ...(parent.dev === true ? { dev: true } : {}),
    ...(os.includes("linux") ? { libc } : {}),
    optional: true,
    ...(os.length > 0 ? { os } : {}),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const lock = JSON.parse(readFileSync(LOCK, "utf8")) as LockFile;
  const missing = missingEntries(lock);
  const all = Object.entries({ ...lock.packages, ...Object.fromEntries(missing) });
  lock.packages = Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, "en")));
  if (missing.size > 0) writeFileSync(LOCK, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`${missing.size} entries added`);
}
