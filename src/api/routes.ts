/**
 * The route table: one list that the server, the OpenAPI document, the tests of access and the clients share.
 * Invariant: every route has a role, and its metric label is its pattern, so labels are a bounded set. A route that is
 * not here is not served.
 */

/** `open` needs no token ever; `admin` may do everything. */
export type Role = "open" | "read" | "write" | "admin";

/** How the route behaves under overload: reads are shed before writes; the rest is always answered. */
export type Shedding = "write" | "read" | "never";

export const ROUTES = [
  { id: "putDelivered", method: "PUT", pattern: "/events/:domain/delivered", role: "write" },
  { id: "postDelivered", method: "POST", pattern: "/events/:domain/delivered", role: "write" },
  { id: "putBounced", method: "PUT", pattern: "/events/:domain/bounced", role: "write" },
  { id: "postBounced", method: "POST", pattern: "/events/:domain/bounced", role: "write" },
  { id: "postEvents", method: "POST", pattern: "/events", role: "write" },
  { id: "getDomain", method: "GET", pattern: "/domains/:domain", role: "read" },
  { id: "lookup", method: "POST", pattern: "/domains/lookup", role: "read" },
  { id: "listDomains", method: "GET", pattern: "/domains", role: "read" },
  { id: "stats", method: "GET", pattern: "/domains/stats", role: "read" },
  { id: "watchDomain", method: "GET", pattern: "/domains/:domain/watch", role: "read" },
  { id: "changes", method: "GET", pattern: "/changes", role: "read" },
  { id: "putOverride", method: "PUT", pattern: "/domains/:domain/override", role: "admin" },
  { id: "deleteOverride", method: "DELETE", pattern: "/domains/:domain/override", role: "admin" },
  { id: "reset", method: "POST", pattern: "/domains/:domain/reset", role: "admin" },
  { id: "cluster", method: "GET", pattern: "/cluster", role: "read" },
  { id: "locate", method: "GET", pattern: "/cluster/domains/:domain", role: "read" },
  { id: "rebalance", method: "POST", pattern: "/cluster/rebalance", role: "admin" },
  { id: "rebalanceProgress", method: "GET", pattern: "/cluster/rebalances/:id", role: "read" },
  {
    id: "cancelRebalance",
    method: "DELETE",
    pattern: "/cluster/rebalances/:id",
    role: "admin",
  },
  { id: "drain", method: "POST", pattern: "/cluster/nodes/:node/drain", role: "admin" },
  { id: "importChunk", method: "POST", pattern: "/cluster/import", role: "admin" },
  { id: "getRule", method: "GET", pattern: "/cluster/rule", role: "read" },
  { id: "putRule", method: "PUT", pattern: "/cluster/rule", role: "admin" },
  { id: "healthz", method: "GET", pattern: "/healthz", role: "open" },
  { id: "readyz", method: "GET", pattern: "/readyz", role: "open" },
  { id: "metrics", method: "GET", pattern: "/metrics", role: "read" },
  { id: "openapi", method: "GET", pattern: "/openapi.json", role: "open" },
  { id: "landing", method: "GET", pattern: "/", role: "open" },
] as const;

export type RouteId = (typeof ROUTES)[number]["id"];

export interface RouteSpec {
  readonly id: RouteId;
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Such as "/events/:domain/delivered"; also the `route` label of metrics. */
  readonly pattern: string;
  readonly role: Role;
}

/** What the route does under overload. Operators, probes and open pages are never shed. */
export function sheddingOf(route: RouteSpec): Shedding {
  if (route.role === "write") return "write";
  if (route.role !== "read") return "never";
  return route.pattern.startsWith("/domains") ? "read" : "never";
}

/** The path as OpenAPI writes it: "/events/{domain}/delivered". */
export function templateOf(pattern: string): string {
  return pattern.replaceAll(/:([a-z]+)/g, "{$1}");
}
