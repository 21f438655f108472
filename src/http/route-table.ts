/**
 * The routes of a server, matched in JavaScript: all of them for node:http, and for uWebSockets.js (which routes by
 * itself) only to tell a wrong method from an unknown path. Both must agree: static segments win over parameters,
 * a parameter is never empty, a trailing slash is another path.
 */

import type { HttpRoute } from "./http-server.ts";

export interface RouteMatch {
  readonly route: HttpRoute;
  /** Raw values of the parameters, in order of the pattern. */
  readonly parameters: readonly string[];
}

interface CompiledRoute {
  readonly route: HttpRoute;
  readonly segments: readonly string[];
}

export class RouteTable {
  private readonly routesByMethod: ReadonlyMap<string, readonly CompiledRoute[]>;

  constructor(routes: readonly HttpRoute[]) {
    const byMethod = new Map<string, CompiledRoute[]>();
    for (const route of routes) {
      const list = byMethod.get(route.method) ?? [];
      list.push({ route, segments: route.pattern.slice(1).split("/") });
      byMethod.set(route.method, list);
    }
    for (const list of byMethod.values()) list.sort(bySpecificity);
    this.routesByMethod = byMethod;
  }

  /** `method` HEAD finds the route of GET. Null when nothing fits. */
  match(method: string, path: string): RouteMatch | null {
    const routes = this.routesByMethod.get(method === "HEAD" ? "GET" : method);
    if (routes === undefined || !path.startsWith("/")) return null;
    const segments = path.slice(1).split("/");
    for (const { route, segments: pattern } of routes) {
      const parameters = matchSegments(pattern, segments);
      if (parameters !== null) return { route, parameters };
    }
    return null;
  }

  /** The methods of a path, for `Allow`: empty for an unknown path. */
  methodsOf(path: string): readonly string[] {
    const methods: string[] = [];
    for (const method of this.routesByMethod.keys()) {
      if (this.match(method, path) === null) continue;
      methods.push(method);
      if (method === "GET") methods.push("HEAD");
    }
    if (methods.length > 0) methods.push("OPTIONS");
    return methods;
  }
}

function matchSegments(
  pattern: readonly string[],
  segments: readonly string[],
): readonly string[] | null {
  if (pattern.length !== segments.length) return null;
  const parameters: string[] = [];
  for (let index = 0; index < pattern.length; index += 1) {
    const expected = pattern[index] as string;
    const segment = segments[index] as string;
    if (expected.startsWith(":")) {
      if (segment === "") return null;
      parameters.push(segment);
    } else if (expected !== segment) return null;
  }
  return parameters;
}

/**
 * A total order, or sorting promises nothing: by the first segment that is a parameter here and static there, whatever
 * the names are, and then by length.
 */
function bySpecificity(left: CompiledRoute, right: CompiledRoute): number {
  const [leftShape, rightShape] = [shapeOf(left), shapeOf(right)];
  if (leftShape === rightShape) return 0;
  return leftShape < rightShape ? -1 : 1;
}

function shapeOf({ segments }: CompiledRoute): string {
  return segments.map((segment) => (segment.startsWith(":") ? "1" : "0")).join("");
}
