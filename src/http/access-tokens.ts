/**
 * The tokens file: JSON lines `{"name","sha256","roles"}`. Only digests are kept, so the file holds nothing that opens
 * a door. All mistakes are reported at once, by line; a file with a mistake must stop the start.
 */

import { isJsonObject, ownField } from "../api/json-body.ts";

export type TokenRole = "read" | "write" | "admin";

export interface AccessToken {
  /** Who: kept with overrides, resets and rule changes. */
  readonly name: string;
  /** SHA-256 of the token, 32 bytes. */
  readonly sha256: Uint8Array;
  readonly roles: readonly TokenRole[];
}

export interface ParsedTokens {
  readonly tokens: readonly AccessToken[];
  /** One sentence per mistake; empty when the file is right. */
  readonly mistakes: readonly string[];
}

/** Parses the text of a tokens file. Never throws. Empty lines are skipped. */
export function parseTokens(text: string): ParsedTokens {
  const tokens: AccessToken[] = [];
  const mistakes: string[] = [];
  const names = new Set<string>();
  for (const [index, line] of text
    .replace(/^\ufeff/, "")
    .split("\n")
    .entries()) {
    if (line.trim() === "") continue;
    const token = parseToken(line);
    if (typeof token === "string") {
      mistakes.push(`Line ${index + 1} of the tokens file: ${token}`);
    } else if (names.has(token.name)) {
      mistakes.push(`Line ${index + 1} of the tokens file: the name "${token.name}" is used twice`);
    } else {
      names.add(token.name);
      tokens.push(token);
    }
  }
  if (tokens.length === 0 && mistakes.length === 0) mistakes.push("The tokens file has no token");
  return { tokens, mistakes };
}

function parseToken(line: string): AccessToken | string {
  let value: unknown;
  try {
    value = JSON.parse(line) as unknown;
  } catch {
    return "not valid JSON";
  }
  if (!isJsonObject(value)) return 'must be an object {"name","sha256","roles"}';
  const name = ownField(value, "name");
  if (typeof name !== "string" || !/^[\x21-\x7e]{1,100}$/.test(name)) {
    return '"name" must be 1 to 100 visible ASCII characters';
  }
  const sha256 = ownField(value, "sha256");
  if (typeof sha256 !== "string" || !/^[0-9a-fA-F]{64}$/.test(sha256)) {
    return '"sha256" must be the SHA-256 of the token in 64 hexadecimal digits';
  }
  const roles = ownField(value, "roles");
  if (!isRoles(roles)) return '"roles" must be a list of "write", "read", "admin"';
  const unknown = Object.keys(value).find((key) => !["name", "sha256", "roles"].includes(key));
  if (unknown !== undefined) return `unknown field "${unknown}"`;
  return { name, sha256: Uint8Array.from(Buffer.from(sha256, "hex")), roles };
}

function isRoles(value: unknown): value is readonly TokenRole[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  return value.every((role) => role === "read" || role === "write" || role === "admin");
}
