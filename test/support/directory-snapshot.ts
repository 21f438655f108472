/** Proof that nothing below a directory changed. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

/** Every file below a directory with its bytes. */
export function snapshot(dir: string): Record<string, string> {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" });
  const found = files.filter((file) => statSync(path.join(dir, file)).isFile());
  return Object.fromEntries(
    found.map((file) => [file, readFileSync(path.join(dir, file)).toString("base64")]),
  );
}
