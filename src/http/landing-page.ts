/**
 * `GET /`: who this node is, whether it is ready, where to look, and one line to try. Plain HTML without scripts or
 * styles, so the strictest content policy holds. Every value from outside is escaped.
 */

import type { Readiness } from "../router/ingress.ts";

export interface LandingFacts {
  readonly node: string;
  readonly version: string;
  readonly readiness: Readiness;
  /** The Host header. */
  readonly host: string;
  readonly scheme: "http" | "https";
  readonly needsToken: boolean;
}

export function landingPage(facts: LandingFacts): string {
  const host = /^[A-Za-z0-9.:[\]-]{1,255}$/.test(facts.host) ? facts.host : "127.0.0.1:8080";
  const url = escapeHtml(`${facts.scheme}://${host}`);
  const token = facts.needsToken ? `-H "Authorization: Bearer $TOKEN" ` : "";
  const curl = `curl ${escapeHtml(token)}`;
  const reasons = facts.readiness.reasons
    .map((reason) => `<li>${escapeHtml(reason)}</li>`)
    .join("");
  const state = facts.readiness.ready ? "ready" : "not ready";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>catchall: ${escapeHtml(facts.node)}</title>
</head>
<body>
<h1>catchall</h1>
<p>Tells senders of e-mail which domains accept mail for any address.</p>
<p>Node <strong>${escapeHtml(facts.node)}</strong>, version ${escapeHtml(facts.version)}, <strong>${state}</strong>.</p>
${reasons === "" ? "" : `<ul>${reasons}</ul>\n`}<h2>Try it</h2>
<pre>${curl}-X PUT ${url}/events/example.com/delivered
${curl}${url}/domains/example.com</pre>
<h2>Look around</h2>
<ul>
<li><a href="/cluster">Cluster</a></li>
<li><a href="/domains">Domains</a></li>
<li><a href="/domains/stats">Totals</a></li>
<li><a href="/cluster/rule">Rule</a></li>
<li><a href="/readyz">Readiness</a></li>
<li><a href="/metrics">Metrics</a></li>
<li><a href="/openapi.json">OpenAPI document</a></li>
</ul>
</body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
