/**
 * The part `open-loop`: latencies at half the peak of one node, and at half the peak of a cluster; nodes write checkpoints
 * all the while. The peak is what a closed loop reaches.
 */
import { compare, measureTarget } from "./compare.ts";
import { median, whole } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { singleLoad, usualConnections } from "./single-part.ts";
import type { TargetName } from "./targets.ts";

const CHECKPOINT_FLAGS = ["--checkpoint-interval", "5s"];
const SHARE_OF_PEAK = 0.5;

interface Pace {
  readonly of: TargetName;
  readonly title: string;
  /** Half the peak of it is over the peak of the others. */
  readonly targets: readonly TargetName[];
}

const PACES: readonly Pace[] = [
  { of: "catchall", title: "the peak of one node", targets: ["bare", "catchall"] },
  { of: "cluster", title: "the peak of three nodes", targets: ["bare", "catchall", "cluster"] },
];

export const openLoopPart: BenchPart = {
  name: "open-loop",
  run: async (context) => {
    const tables: Table[] = [];
    for (const pace of PACES) {
      if (context.targets.includes(pace.of)) tables.push(...(await compareAt(context, pace)));
    }
    return tables;
  },
};

async function compareAt(context: BenchContext, pace: Pace): Promise<readonly Table[]> {
  context.say(pace.title);
  const rate = Math.ceil((await peakOf(context, pace.of)) * SHARE_OF_PEAK);
  const single = singleLoad(context, usualConnections(context));
  const title = `Open loop at half ${pace.title}, ${whole(rate)} events/s`;
  const text =
    "Intended start times, latencies corrected for coordinated omission; " +
    "nodes write a checkpoint every 5 s.";
  const flags = [...single.flags, "--rate", String(rate)];
  return await compare(context, {
    targets: context.targets.filter((target) => pace.targets.includes(target)),
    loads: [{ ...single, title, text, flags }],
    targetFlags: CHECKPOINT_FLAGS,
  });
}

/** Events/s in a closed loop: median of as many loads as there are rounds, on one process. */
async function peakOf(context: BenchContext, name: TargetName): Promise<number> {
  const single = singleLoad(context, usualConnections(context));
  const loads = Array.from({ length: context.rounds }, () => single);
  const measured = await measureTarget(context, name, { loads });
  return median(measured.map(({ eventsPerSecond }) => eventsPerSecond));
}
