/** The code of a caught error, as Node.js and the clients of servers give it. Pure; must never throw, whatever was thrown. */

/** Its `code` as text; "" when it has none. */
export function codeOf(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
}
