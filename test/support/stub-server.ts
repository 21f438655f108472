/** A small HTTP server on a free loopback port that answers as told and remembers what it was asked. */

import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface StubRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface StubServer {
  readonly url: string;
  readonly requests: StubRequest[];
  close(): Promise<void>;
}

/** `answer` is given the request and how many requests came before it. */
export async function startStub(
  answer: (request: StubRequest, response: ServerResponse, index: number) => void,
): Promise<StubServer> {
  const requests: StubRequest[] = [];
  const server = createServer(async (incoming, response) => {
    let body = "";
    for await (const chunk of incoming) body += String(chunk);
    const { method = "", url = "", headers } = incoming;
    const request = { method, path: url, headers, body };
    requests.push(request);
    answer(request, response, requests.length - 1);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

export function answerJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

export function answerProblem(
  response: ServerResponse,
  status: number,
  code: string,
  fields: { readonly effect?: string; readonly detail?: string; readonly retryAfter?: string } = {},
): void {
  const { effect = "none", detail = `Problem ${code}`, retryAfter } = fields;
  const retryable = [408, 429, 503, 504].includes(status);
  const headers: Record<string, string> = { "content-type": "application/problem+json" };
  if (retryAfter !== undefined) headers["retry-after"] = retryAfter;
  response.writeHead(status, headers);
  response.end(
    JSON.stringify({ type: `urn:x:${code}`, title: code, status, detail, code, effect, retryable }),
  );
}
