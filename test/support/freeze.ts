/** SIGSTOP that has happened when it returns: the threads of a process go on until each of them hears of it. */

import { readdirSync, readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";

const STOP_LIMIT_MS = 2000;
/** "1234 (name) T …" of proc(5): stopped. */
const STOPPED = /^\d+ \(.*\) T /s;

/** The process accepts connections from now on and answers nothing. Where there is no /proc it only sends the signal. */
export function freeze(pid: number): void {
  process.kill(pid, "SIGSTOP");
  const giveUpMs = performance.now() + STOP_LIMIT_MS;
  while (!isStopped(pid)) {
    if (performance.now() > giveUpMs) throw new Error(`process ${pid} does not stop`);
  }
}

function isStopped(pid: number): boolean {
  if (process.platform !== "linux") return true;
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).every((task) => {
    try {
      return STOPPED.test(readFileSync(`${tasks}/${task}/stat`, "utf8"));
    } catch {
      // This thread has ended.
      return true;
    }
  });
}
