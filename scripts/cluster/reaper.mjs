/**
 * Ends what a launcher leaves behind when it dies without a chance to clean up (kill -9). It reads on its standard input
 * which processes exist, "+ PID STAGE" and "- PID"; when that ends, it ends those that are left, stage by stage.
 * Plain JavaScript: it must start fast and outlive everything. Must never signal a process that is not the one it was
 * told of: a process id may have been given to another one since, so the time of its start is compared.
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const GRACE_MS = 15_000;
const POLL_MS = 50;

/** @type {Map<number, { stage: number, identity: string }>} */
const known = new Map();

for await (const line of createInterface({ input: process.stdin })) {
  const [sign, pid, stage] = line.split(" ");
  if (sign === "+") known.set(Number(pid), { stage: Number(stage), identity: identityOf(pid) });
  if (sign === "-") known.delete(Number(pid));
}
const stages = [...new Set([...known.values()].map(({ stage }) => stage))].sort((a, b) => a - b);
for (const stage of stages) await endStage(stage);

/** @param {number} stage */
async function endStage(stage) {
  const pids = [...known].filter(([, entry]) => entry.stage === stage).map(([pid]) => pid);
  for (const pid of pids) {
    // A stopped process takes no signal but these two.
    signal(pid, "SIGCONT");
    signal(pid, "SIGTERM");
  }
  const giveUpMs = Date.now() + GRACE_MS;
  while (pids.some(isSame) && Date.now() < giveUpMs) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  for (const pid of pids) signal(pid, "SIGKILL");
}

/** @param {number} pid @param {NodeJS.Signals} name */
function signal(pid, name) {
  if (!isSame(pid)) return;
  try {
    process.kill(pid, name);
  } catch {
    // It ended meanwhile.
  }
}

/** @param {number} pid */
function isSame(pid) {
  const identity = identityOf(pid);
  return identity !== "" && identity === known.get(pid)?.identity;
}

/** When it was started; empty when it is gone. @param {number | string} pid */
function identityOf(pid) {
  if (process.platform !== "linux") {
    return spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], {
      encoding: "utf8",
    }).stdout.trim();
  }
  try {
    // Behind the name, which is in brackets and may hold anything: state, …, start time as the 20th word.
    const words = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return words[0] === "Z" ? "" : (words[19] ?? "");
  } catch {
    return "";
  }
}
