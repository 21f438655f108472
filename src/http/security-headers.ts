/**
 * The headers that every answer with a body carries. A handler that names one of them itself (the dashboard its policy)
 * replaces it. The bare 204 of an accepted event goes without: it has no body that a browser could sniff, frame or cache
 * (RFC 9111 section 3: an answer to PUT is never stored), and its bytes are paid once per event.
 */

import type { HttpHeaders } from "./http-server.ts";

export const SECURITY_HEADERS: HttpHeaders = [
  ["X-Content-Type-Options", "nosniff"],
  ["Cache-Control", "no-store"],
  ["Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"],
  ["Referrer-Policy", "no-referrer"],
  ["Cross-Origin-Resource-Policy", "same-origin"],
];

const NAMES: ReadonlySet<string> = new Set(SECURITY_HEADERS.map(([name]) => name.toLowerCase()));

const NAME_PATTERN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass.
const VALUE_BAD_PATTERN = /[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]/;

/** The headers of an answer: the handler's own first, then the security headers that it did not name. */
export function withSecurityHeaders(headers: HttpHeaders): HttpHeaders {
  if (headers.length === 0) return SECURITY_HEADERS;
  const named = new Set<string>();
  for (const [name] of headers) {
    const lower = name.toLowerCase();
    if (NAMES.has(lower)) named.add(lower);
  }
  if (named.size === 0) return [...headers, ...SECURITY_HEADERS];
  return [...headers, ...SECURITY_HEADERS.filter(([name]) => !named.has(name.toLowerCase()))];
}

/** False when a header could end the line it stands on, and so start another answer. */
export function areHeadersSafe(headers: HttpHeaders): boolean {
  for (const [name, value] of headers) {
    if (!NAME_PATTERN.test(name) || VALUE_BAD_PATTERN.test(value)) return false;
  }
  return true;
}
