/**
 * What a node's metrics say about its CPU time, and how much of it a run cost.
 * Invariant: a difference is told only when both readings are of one process; a node that restarted in between began
 * again at zero, so that the difference would be of nothing (and often negative).
 */

export interface NodeCpu {
  /** When the process started, seconds of the epoch; null where the metrics do not tell. */
  readonly startedSeconds: number | null;
  readonly cpuSeconds: number;
}

/** Reads Prometheus text. Null when it has no CPU time. */
export function parseNodeCpu(text: string): NodeCpu | null {
  const cpuSeconds = sampleOf(text, "process_cpu_seconds_total");
  if (cpuSeconds === null) return null;
  return { startedSeconds: sampleOf(text, "process_start_time_seconds"), cpuSeconds };
}

/** CPU seconds used from one reading to the other; null when that can't be known. */
export function cpuSecondsBetween(before: NodeCpu | null, after: NodeCpu | null): number | null {
  if (before === null || after === null) return null;
  if (before.startedSeconds !== after.startedSeconds) return null;
  const seconds = after.cpuSeconds - before.cpuSeconds;
  return seconds < 0 ? null : seconds;
}

function sampleOf(text: string, name: string): number | null {
  const line = new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)`, "m").exec(text);
  return line === null ? null : Number(line[1]);
}
