/**
 * Storms and calms of a run: stretches of virtual time with everything at once, and between them minutes in which leases,
 * checkpoints and timers run, with few clients and single faults that the cluster has the time to get over.
 * Invariant: storms and calms take turns, begin and end with a storm, and cover the run; a function of the numbers drawn.
 */

import type { SimRandom } from "./sim-random.ts";

/** Ends are exclusive, ms of the run. */
export interface Stretch {
  readonly startMs: number;
  readonly endMs: number;
}

export interface Weather {
  readonly storms: readonly Stretch[];
  /** One less than storms. */
  readonly calms: readonly Stretch[];
}

const STORMS_MIN = 2;
const STORMS_MORE = 4;

/** Storms of `stormMs` together, calms of `calmMs` together; one storm and nothing else when that is 0. */
export function drawWeather(random: SimRandom, stormMs: number, calmMs: number): Weather {
  if (calmMs === 0) return { storms: [{ startMs: 0, endMs: stormMs }], calms: [] };
  const count = STORMS_MIN + random.below(STORMS_MORE);
  const stormLengths = shares(random, count, stormMs);
  const calmLengths = shares(random, count - 1, calmMs);
  const storms: Stretch[] = [];
  const calms: Stretch[] = [];
  let atMs = 0;
  for (const [i, lengthMs] of stormLengths.entries()) {
    storms.push({ startMs: atMs, endMs: atMs + lengthMs });
    atMs += lengthMs;
    const calmLengthMs = calmLengths[i] ?? 0;
    if (calmLengthMs > 0) calms.push({ startMs: atMs, endMs: atMs + calmLengthMs });
    atMs += calmLengthMs;
  }
  return { storms, calms };
}

/** The instant by which `gapMs` of the time inside the stretches has passed; after the last of them all time counts. */
export function afterWithin(stretches: readonly Stretch[], nowMs: number, gapMs: number): number {
  let atMs = nowMs;
  let leftMs = gapMs;
  for (const { startMs, endMs } of stretches) {
    if (endMs <= atMs) continue;
    atMs = Math.max(atMs, startMs);
    if (atMs + leftMs < endMs) break;
    leftMs -= endMs - atMs;
    atMs = endMs;
  }
  return atMs + leftMs;
}

export function isWithin(stretches: readonly Stretch[], atMs: number): boolean {
  return stretches.some(({ startMs, endMs }) => startMs <= atMs && atMs < endMs);
}

/** None is shorter than half of what it would be if all were equal. */
function shares(random: SimRandom, count: number, sum: number): number[] {
  const parts = Array.from({ length: count }, () => random.unit());
  const all = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => (sum / 2) * (1 / count + part / all));
}
