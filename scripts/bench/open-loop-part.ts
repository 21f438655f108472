/** The part `open-loop`: latencies at half the peak of one node, which writes checkpoints all the while. */
import { compare, measureTarget } from "./compare.ts";
import { median } from "./figures.ts";
import type { BenchContext, BenchPart } from "./part.ts";
import { singleLoad, usualConnections } from "./single-part.ts";

const CHECKPOINT_FLAGS = ["--checkpoint-interval", "5s"];
const SHARE_OF_PEAK = 0.5;

export const openLoopPart: BenchPart = {
  name: "open-loop",
  run: async (context) => {
    const single = singleLoad(context, usualConnections(context));
    const rate = Math.round((await peakOf(context)) * SHARE_OF_PEAK);
    const title = `Open loop at half the peak, ${rate} events/s`;
    const text =
      "Intended start times, latencies corrected for coordinated omission; " +
      "the node writes a checkpoint every 5 s.";
    const flags = [...single.flags, "--rate", String(rate)];
    return await compare(context, {
      // Half the peak of one node is over the peak of the others.
      targets: context.targets.filter((target) => target === "bare" || target === "catchall"),
      loads: [{ ...single, title, text, flags }],
      targetFlags: CHECKPOINT_FLAGS,
    });
  },
};

/** Events/s of one node in a closed loop. */
async function peakOf(context: BenchContext): Promise<number> {
  context.say("the peak of one node");
  const loads = [singleLoad(context, usualConnections(context))];
  const measured = await measureTarget(context, "catchall", { loads });
  return median(measured.map(({ eventsPerSecond }) => eventsPerSecond));
}
