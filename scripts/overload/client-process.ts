/**
 * The sender as a process of its own: what it computes delays neither the probes nor the schedule of another.
 * Started by `openClientProcess`, ends when its parent has gone or says so.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import {
  type LoadSource,
  OverloadClient,
  type PhaseCounts,
  type PhasePlan,
} from "./overload-client.ts";
import type { Account, LoadShape } from "./prepared-load.ts";

type Order =
  | { readonly kind: "open"; readonly url: string; readonly shape: LoadShape }
  | { readonly kind: "run"; readonly plan: PhasePlan }
  | { readonly kind: "account" };

type Report =
  | { readonly kind: "ready" }
  | { readonly kind: "sending-over" }
  | { readonly kind: "counts"; readonly counts: PhaseCounts }
  | { readonly kind: "account"; readonly account: Account };

const SELF = fileURLToPath(import.meta.url);

/** Errors: the process ended before it answered. */
export async function openClientProcess(url: string, shape: LoadShape): Promise<LoadSource> {
  const source = new ClientProcess(fork(SELF, [], { serialization: "advanced" }));
  await source.open(url, shape);
  return source;
}

class ClientProcess implements LoadSource {
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
  }

  async open(url: string, shape: LoadShape): Promise<void> {
    await this.#ask({ kind: "open", url, shape }, "ready");
  }

  async run(plan: PhasePlan, onSendingOver: () => void = () => undefined): Promise<PhaseCounts> {
    return (await this.#ask({ kind: "run", plan }, "counts", onSendingOver)).counts;
  }

  async account(): Promise<Account> {
    return (await this.#ask({ kind: "account" }, "account")).account;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  #ask<K extends Report["kind"]>(
    order: Order,
    kind: K,
    onSendingOver: () => void = () => undefined,
  ): Promise<Extract<Report, { kind: K }>> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error("The sending process ended"));
      const onReport = (report: Report): void => {
        if (report.kind === "sending-over") onSendingOver();
        if (report.kind !== kind) return;
        this.#child.off("exit", onExit);
        this.#child.off("message", onReport);
        resolve(report as Extract<Report, { kind: K }>);
      };
      this.#child.once("exit", onExit);
      this.#child.on("message", onReport);
      this.#child.send(order);
    });
  }
}

function serveOrders(): void {
  let client: OverloadClient | null = null;
  const tell = (report: Report): void => {
    process.send?.(report);
  };
  const obey = async (order: Order): Promise<void> => {
    if (order.kind === "open") {
      client = new OverloadClient(order.url, order.shape);
      return tell({ kind: "ready" });
    }
    if (client === null) throw new Error("No load is open");
    if (order.kind === "account") return tell({ kind: "account", account: await client.account() });
    const counts = await client.run(order.plan, () => tell({ kind: "sending-over" }));
    return tell({ kind: "counts", counts });
  };
  process.on("message", (order: Order) => void obey(order));
  process.once("disconnect", () => process.exit(0));
}

if (process.argv[1] === SELF) serveOrders();
