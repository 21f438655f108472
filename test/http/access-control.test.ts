/** Who may do what: every route against every kind of token, other sites, other hosts; and the tokens file. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ROUTES } from "../../src/api/routes.ts";
import { isLoopbackHost } from "../../src/http/access-control.ts";
import { parseTokens } from "../../src/http/access-tokens.ts";
import { NODE_TOKEN_DIGEST } from "../../src/http/node-token-digest.ts";
import { openFixture, roleTokens, urlOf } from "../support/http-fixture.ts";

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

describe("AccessControl with tokens", () => {
  it("holds each route to its role, for no token, a bad one, each wrong one and each right one", async () => {
    for (const route of ROUTES) {
      const { http } = openFixture({ tokens: roleTokens() });
      const ask = async (headers: Record<string, string>): Promise<number> => {
        const reply = await http.send(route.method, urlOf(route.pattern), { headers });
        if (reply.status === 401)
          assert.match(reply.headers.get("www-authenticate") ?? "", /^Bearer/);
        if (reply.status === 401 || reply.status === 403) assert.equal(reply.isBodyRead, false);
        return reply.status;
      };
      const isOpen = route.role === "open";
      for (const headers of [
        {},
        bearer("wrong"),
        bearer(""),
        { authorization: "Basic secret-admin" },
        bearer("secret-admi"),
      ]) {
        assert.equal(
          (await ask(headers)) === 401,
          !isOpen,
          `${route.id} ${JSON.stringify(headers)}`,
        );
      }
      for (const role of ["read", "write", "admin"] as const) {
        const status = await ask(bearer(`secret-${role}`));
        const isAllowed = isOpen || role === "admin" || role === route.role;
        assert.notEqual(status, 401, `${route.id} ${role}`);
        assert.equal(status === 403, !isAllowed, `${route.id} ${role}`);
      }
    }
  });

  it("keeps the name of the token with what an operator changes, and never logs the token", async () => {
    const { http, ingress, logged } = openFixture({ tokens: roleTokens(), host: "0.0.0.0" });
    const headers = {
      ...bearer("secret-admin"),
      "content-type": "application/json",
      host: "catchall.example",
    };
    const body = '{"status":"catch-all","reason":"Asked"}';
    const reply = await http.send("PUT", "/domains/example.com/override", { headers, body });
    assert.equal(reply.status, 200);
    assert.deepEqual(ingress.by, ["adminer"]);
    assert.equal(
      logged.some(({ fields }) => fields["by"] === "adminer"),
      true,
    );
    assert.doesNotMatch(JSON.stringify(logged), /secret/);
  });
});

describe("AccessControl without tokens", () => {
  it("opens reads and writes anywhere, and operators' routes on a loopback listener only", async () => {
    for (const host of ["127.0.0.1", "localhost", "::1", "0.0.0.0", "10.0.0.1", "::"]) {
      for (const route of ROUTES) {
        const { http } = openFixture({ host });
        const reply = await http.send(route.method, urlOf(route.pattern));
        const isRefused = route.role === "admin" && !isLoopbackHost(host);
        assert.equal(reply.status === 403, isRefused, `${host} ${route.id} ${reply.status}`);
        if (isRefused) assert.match(String(reply.json()["detail"]), /--tokens-file FILE/);
      }
    }
  });

  it("refuses operators' routes under a foreign host name", async () => {
    const { http, ingress } = openFixture();
    for (const host of [
      "evil.example",
      "127.0.0.1.evil.example:8080",
      "localhost.evil.example",
      "127.0.0.1:80:80",
    ]) {
      assert.equal(
        (await http.send("POST", "/domains/example.com/reset", { headers: { host } })).status,
        403,
        host,
      );
    }
    for (const host of ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST", ""]) {
      assert.equal(
        (await http.send("POST", "/domains/example.com/reset", { headers: { host } })).status,
        204,
        host,
      );
    }
    assert.equal(ingress.by.length, 5);
  });
});

describe("requests from pages of other sites", () => {
  it("can change nothing, by any route that changes", async () => {
    const foreign: Record<string, string>[] = [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { origin: "http://evil.example" },
      { origin: "null" },
      { origin: "http://127.0.0.1:8081" },
    ];
    for (const route of ROUTES.filter((each) => each.role === "write" || each.role === "admin")) {
      const { http, ingress } = openFixture();
      for (const headers of foreign) {
        const reply = await http.send(route.method, urlOf(route.pattern), { headers });
        assert.equal(reply.status, 403, `${route.id} ${JSON.stringify(headers)}`);
      }
      assert.equal(ingress.submitted.length + ingress.by.length, 0);
    }
  });

  it("are told from requests of our own pages and of programs", async () => {
    const { http } = openFixture();
    const own: Record<string, string>[] = [
      {},
      { "sec-fetch-site": "none" },
      { "sec-fetch-site": "same-origin", origin: "http://127.0.0.1:8080" },
      { origin: "https://127.0.0.1:8080" },
    ];
    for (const headers of own) {
      assert.equal(
        (await http.send("PUT", "/events/example.com/delivered", { headers })).status,
        204,
      );
    }
  });
});

describe("parseTokens", () => {
  const sha256 = "ab".repeat(32);
  it("reads one token a line", () => {
    const text = `{"name":"a","sha256":"${sha256}","roles":["read","write"]}\r\n\n{"name":"b","sha256":"${sha256.toUpperCase()}","roles":["admin"]}`;
    const { tokens, mistakes } = parseTokens(text);
    assert.deepEqual(mistakes, []);
    assert.deepEqual(
      tokens.map(({ name, roles }) => [name, roles]),
      [
        ["a", ["read", "write"]],
        ["b", ["admin"]],
      ],
    );
    assert.deepEqual(tokens[1]?.sha256, Uint8Array.from(Buffer.from(sha256, "hex")));
  });

  it("names every mistake by its line, and an empty file is one", () => {
    const lines = [
      "{",
      "[]",
      '{"name":"a"}',
      `{"name":"","sha256":"${sha256}","roles":["read"]}`,
      `{"name":"a","sha256":"x","roles":["read"]}`,
      `{"name":"a","sha256":"${sha256}","roles":[]}`,
      `{"name":"a","sha256":"${sha256}","roles":["root"]}`,
      `{"name":"a","sha256":"${sha256}","roles":["read"],"x":1}`,
    ];
    const { tokens, mistakes } = parseTokens(lines.join("\n"));
    assert.equal(tokens.length, 0);
    assert.deepEqual(
      mistakes.map((mistake) => /^Line (\d+)/.exec(mistake)?.[1]),
      lines.map((_, i) => String(i + 1)),
    );
    assert.equal(parseTokens("\n").mistakes.length, 1);
    const twice = `{"name":"a","sha256":"${sha256}","roles":["read"]}`;
    assert.equal(parseTokens(`${twice}\n${twice}`).mistakes.length, 1);
  });
});

describe("NODE_TOKEN_DIGEST", () => {
  it("agrees with the published vector and compares without exceptions", () => {
    const digest = NODE_TOKEN_DIGEST.sha256("abc");
    assert.equal(
      Buffer.from(digest).toString("hex"),
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    assert.equal(NODE_TOKEN_DIGEST.isEqual(digest, NODE_TOKEN_DIGEST.sha256("abc")), true);
    assert.equal(NODE_TOKEN_DIGEST.isEqual(digest, NODE_TOKEN_DIGEST.sha256("abd")), false);
    assert.equal(NODE_TOKEN_DIGEST.isEqual(digest, digest.subarray(1)), false);
  });
});
