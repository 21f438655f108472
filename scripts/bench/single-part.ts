/** The part `single`: one event a request, all targets, each number of connections. */
import { type ComparedLoad, compare } from "./compare.ts";
import type { BenchContext, BenchPart } from "./part.ts";
import type { TargetName } from "./targets.ts";

export const singlePart: BenchPart = {
  name: "single",
  run: (context) =>
    compare(context, {
      targets: context.targets,
      loads: context.connections.map((connections) => singleLoad(context, connections)),
    }),
};

/** `PUT`s of one event in a closed loop. */
export function singleLoad({ mix }: BenchContext, connections: number): ComparedLoad {
  return {
    title: `Single PUTs, ${connections} connections`,
    text: `\`PUT /events/{domain}/{type}\`, mix \`${mix}\`, closed loop, keep-alive.`,
    connections,
    flags: ["--mix", mix],
  };
}

/** Of the given numbers of connections the one in the middle, for loads that are measured with one number only. */
export function usualConnections({ connections }: BenchContext): number {
  return connections[connections.length >> 1] as number;
}

/** The bare server and those that are this product. */
export function withoutPeers({ targets }: BenchContext): readonly TargetName[] {
  return targets.filter((name) => name === "bare" || name === "catchall" || name === "cluster");
}
