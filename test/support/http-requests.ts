/** Well-formed requests as bytes, and short ways to ask a fixture. */

import assert from "node:assert/strict";
import type { HttpServerOptions } from "../../src/http/http-server.ts";
import { HttpServerFixture, type OpenHttpServer } from "./http-server-fixture.ts";
import { exchange, type RawResponse } from "./raw-http.ts";

export const HOST: string = "Host: a.example\r\n";

export function get(path: string, method: string = "GET"): string {
  return `${method} ${path} HTTP/1.1\r\n${HOST}\r\n`;
}

export function put(domain: string, headers: string = ""): string {
  return `PUT /events/${domain}/delivered HTTP/1.1\r\n${HOST}${headers}\r\n`;
}

export function post(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`;
}

export function chunkedPost(path: string, chunks: readonly string[]): string {
  const lines = [...chunks, ""].map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`);
  return `POST ${path} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${lines.join("")}`;
}

/** Runs `work` with a server of its own. */
export async function withFixture(
  open: OpenHttpServer,
  work: (fixture: HttpServerFixture) => Promise<void>,
  changes: Partial<HttpServerOptions> = {},
): Promise<void> {
  const fixture = await HttpServerFixture.start(open, changes);
  try {
    await work(fixture);
  } finally {
    await fixture.stop();
  }
}

export async function ask(
  fixture: HttpServerFixture,
  bytes: string,
  isHead: boolean = false,
): Promise<RawResponse> {
  const { responses } = await exchange(fixture.port, bytes, { isHead });
  assert.equal(responses.length, 1, "one answer");
  return responses[0] as RawResponse;
}

export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number = 3000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${condition} within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
