/**
 * Does to the cluster what the plan says: crashes, pauses, clock jumps, partitions, servers away, and what operators do
 * at the worst moments. `heal` ends all of it.
 * Invariant: draws only from its own stream, so that a change of the workload does not change the faults.
 */

import { type FaultFamily, type FaultPlan, isStrike } from "./fault-plan.ts";
import { MoveStrikes } from "./move-strikes.ts";
import type { SimChanges } from "./sim-changes.ts";
import type { SimCheckpointStore } from "./sim-checkpoint-store.ts";
import type { SimControlStore } from "./sim-control-store.ts";
import type { SimLife, SimMachine } from "./sim-life.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimNodeLogs } from "./sim-node-logs.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimNetwork } from "./sim-transport.ts";
import type { SimWorld } from "./sim-world.ts";
import { afterWithin, isWithin, type Stretch } from "./storms.ts";
import type { SimVersions } from "./versions.ts";
import { type Ownership, Victims } from "./victims.ts";

export interface SimCluster {
  readonly world: SimWorld;
  readonly plan: FaultPlan;
  /** Those of the start first, then those that may join. */
  readonly nodes: readonly SimNode[];
  readonly logs: SimNodeLogs;
  readonly control: SimControlStore;
  readonly checkpoints: SimCheckpointStore;
  readonly network: SimNetwork;
  readonly changes: SimChanges;
  readonly ownership: Ownership;
  readonly versions: SimVersions;
}

/** Leaps further than this are an operator's mistake that entry times are bounded against; rarer. */
const WALL_JUMP_MAX_MS = 30_000;

/** What finding a dead member and sealing its log may take beyond the lease. */
const SEALING_MAX_MS = 3000;
/** Share of the acts of a coordinator in which it freezes. */
const COORDINATOR_STRIKES = 0.2;
/** By which a machine's watches come back after the machine. */
const ECHO_MAX_MS = 2000;
/** Between two tries of a process to reach the servers again. */
const RECONNECT_MAX_MS = 2000;

export class FaultDriver {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #joined: Set<SimNode>;
  readonly #drained: Set<SimNode> = new Set();
  readonly injected: Map<FaultFamily, number> = new Map();
  readonly #victims: Victims;
  readonly #moveStrikes: MoveStrikes | null;
  readonly #coordinatorStrikes: SimRandom;
  #isHealed = false;

  constructor(cluster: SimCluster) {
    const { world, plan, ownership } = cluster;
    this.#cluster = cluster;
    this.#random = world.random("faults");
    this.#joined = new Set(cluster.nodes.slice(0, plan.nodes));
    const { partitions, isBiasedToOwners: isBiased } = plan;
    this.#victims = new Victims({ world, ownership, partitions, isBiased });
    const isStriking = plan.families.includes("moveStrike");
    this.#coordinatorStrikes = world.random("faults/coordinator strikes");
    this.#moveStrikes = isStriking ? this.#createMoveStrikes() : null;
  }

  /** Faults of nodes by what they hit. */
  get hits(): Readonly<Record<string, number>> {
    return this.#victims.counts;
  }

  /** To be called with each table that is stored. */
  tableStored(): void {
    const table = this.#cluster.ownership.table();
    if (table !== null) this.#moveStrikes?.tableStored(table);
  }

  /**
   * To be called with each act of a coordinator, its request on the way: it freezes until others coordinate, and goes on
   * where it was.
   */
  coordinatorActed({ machine }: SimLife): void {
    const { world, plan } = this.#cluster;
    if (!plan.families.includes("coordinatorStrike") || machine.isFrozen || this.#isHealed) return;
    const random = this.#coordinatorStrikes;
    const node = this.#running().find((one) => one.machine === machine);
    const isDue = this.#running().length > 1 && isWithin(plan.weather.storms, world.nowMs);
    if (node === undefined || !isDue || !random.chance(COORDINATOR_STRIKES)) return;
    this.#countFault("coordinatorStrike");
    this.#victims.hit(node);
    const durationMs = random.between(1.2, 4) * plan.leaseTtlMs + random.unit() * SEALING_MAX_MS;
    const how = random.chance(0.5) ? "pause" : "suspend";
    this.#freeze(how, machine, durationMs);
  }

  #createMoveStrikes(): MoveStrikes {
    const { world, plan } = this.#cluster;
    return new MoveStrikes({
      random: world.random("faults/move strikes"),
      isDue: () => isWithin(plan.weather.storms, world.nowMs),
      after: (delayMs, work) => this.#after(delayMs, work),
      strike: (incarnation, how) => {
        const struck = (node: SimNode): boolean => node.current?.incarnation === incarnation;
        const node = this.#running().find(struck);
        if (node === undefined) return;
        this.#countFault("moveStrike");
        world.trace("move strike", node.machine.index, incarnation);
        this.#injectNode(how, node);
      },
    });
  }

  /** Nodes that have been started once. */
  get joined(): readonly SimNode[] {
    return this.#cluster.nodes.filter((node) => this.#joined.has(node));
  }

  start(): void {
    for (const node of this.#joined) this.#after(this.#random.unit() * 2000, () => node.boot());
    const { weather, faultGapMs, calmFaultGapMs } = this.#cluster.plan;
    if (this.#timedFamilies().length === 0) return;
    this.#scheduleNext(this.#random, weather.storms, faultGapMs);
    if (weather.calms.length === 0) return;
    this.#scheduleNext(this.#cluster.world.random("faults/calm"), weather.calms, calmFaultGapMs);
  }

  /** No more faults: everything reachable, running, and not draining. */
  heal(): void {
    const { world, logs, control, checkpoints, network, changes } = this.#cluster;
    this.#isHealed = true;
    world.trace("heal", 0);
    for (const store of [logs, control, checkpoints, network, changes]) store.heal();
    const { versions } = this.#cluster;
    const old = new Set(this.joined.filter(({ machine }) => !versions.isNewer(machine.index)));
    // What the newer version stored needs the newer version: the upgrade ends.
    const isUpgraded = versions.finish();
    for (const node of this.joined) {
      node.machine.resume();
      if (this.#drained.has(node) || (isUpgraded && old.has(node))) node.kill();
      // One that is stopping ends first.
      const boot = (): void => {
        if (node.isStopping && node.life !== null) world.after(1000, boot);
        else node.boot();
      };
      boot();
    }
  }

  /** All at once lose their power and come back. */
  restartAll(): void {
    for (const node of this.joined) node.kill();
    for (const node of this.joined) node.boot();
  }

  #scheduleNext(random: SimRandom, stretches: readonly Stretch[], gapMs: number): void {
    const { world } = this.#cluster;
    const atMs = afterWithin(stretches, world.nowMs, random.exponential(gapMs));
    this.#after(atMs - world.nowMs, () => {
      const family = random.pick(this.#timedFamilies());
      this.#countFault(family);
      this.#inject(family);
      this.#scheduleNext(random, stretches, gapMs);
    });
  }

  #timedFamilies(): readonly FaultFamily[] {
    return this.#cluster.plan.families.filter((family) => !isStrike(family));
  }

  #countFault(family: FaultFamily): void {
    this.injected.set(family, (this.injected.get(family) ?? 0) + 1);
  }

  #after(delayMs: number, work: () => void): void {
    this.#cluster.world.after(delayMs, () => {
      if (!this.#isHealed) work();
    });
  }

  /** Short ones mostly, some around the lease, few long. */
  #durationMs(): number {
    const { leaseTtlMs } = this.#cluster.plan;
    const random = this.#random;
    if (random.chance(0.4)) return random.between(10, leaseTtlMs / 2);
    if (random.chance(0.7)) return random.between(leaseTtlMs * 0.8, leaseTtlMs * 2.5);
    return random.between(leaseTtlMs * 2, 60_000);
  }

  #running(): SimNode[] {
    return this.joined.filter((node) => node.life !== null);
  }

  #inject(family: FaultFamily): void {
    const running = this.#running();
    const drawn = running.length === 0 ? null : this.#random.pick(running);
    switch (family) {
      case "natsAway":
      case "mongoAway":
        return this.#takeAway(family);
      case "join":
        return this.#join();
      case "leaderLoss":
        return this.#loseLeader();
      default:
        if (drawn !== null) this.#injectNode(family, this.#victims.choose(drawn, running));
    }
  }

  #injectNode(family: FaultFamily, node: SimNode): void {
    this.#victims.hit(node);
    const { control } = this.#cluster;
    const { machine } = node;
    switch (family) {
      case "kill":
        node.kill();
        return this.#after(this.#random.chance(0.5) ? 100 : this.#durationMs(), () => node.boot());
      case "pause":
      case "suspend":
        return this.#freeze(family, machine, this.#durationMs());
      case "ambush":
        return this.#ambush(node);
      case "halfCheckpoint":
        return this.#halveCheckpoint(node);
      case "wallJump":
        return machine.jumpWall(this.#random.between(-1, 1) * this.#jumpMaxMs());
      case "cut":
        return this.#cut(node);
      case "cutOff":
        return this.#cutOff(node);
      case "lag":
        return this.#lag(node);
      case "watchSilence":
        return control.silenceWatches(machine.index, this.#random.between(1000, 60_000));
      case "leave":
        node.leave();
        return this.#after(this.#random.between(100, 60_000), () => node.boot());
      case "upgrade":
        return this.#exchange(node);
      default:
        this.#operate(family, node);
    }
  }

  /** The other version takes the place of this one: one step of a rolling upgrade, or back. */
  #exchange(node: SimNode): void {
    const { versions, world } = this.#cluster;
    const { index } = node.machine;
    const isOrderly = this.#random.chance(0.7);
    if (isOrderly) node.leave();
    else node.kill();
    const boot = (): void => {
      if (node.life !== null) return this.#after(RECONNECT_MAX_MS, boot);
      versions.exchange(index);
      world.trace("version", index, versions.isNewer(index) ? 2 : 1);
      node.boot();
    };
    this.#after(this.#random.between(100, 5000), boot);
  }

  /** Connections that were silent for so long speak again late: what it missed may come well after what it says. */
  #freeze(how: "pause" | "suspend", machine: SimMachine, durationMs: number): void {
    machine[how]();
    if (how === "suspend" && this.#random.chance(0.5)) {
      const echoMs = this.#random.between(0, ECHO_MAX_MS);
      this.#cluster.control.silenceWatches(machine.index, durationMs + echoMs);
    }
    this.#after(durationMs, () => machine.resume());
  }

  /** Freezes with its next append under way, mostly until others have sealed its log. */
  #ambush({ machine }: SimNode): void {
    const random = this.#random;
    const durationMs = random.between(1.5, 4) * this.#cluster.plan.leaseTtlMs;
    const sealingMs = random.between(0, SEALING_MAX_MS);
    const freeze = random.chance(0.7) ? "suspend" : "pause";
    const deafMs = random.chance(0.5) ? random.between(0, ECHO_MAX_MS) : 0;
    const { control, logs } = this.#cluster;
    logs.ambush(machine.index, () => {
      if (this.#isHealed) return;
      this.#freeze(freeze, machine, durationMs + sealingMs);
      if (deafMs === 0) return;
      // The log has a leader of its own: it may be reached again before what says that this life is over.
      control.service.cutOff.add(machine.index);
      const endMs = durationMs + sealingMs + deafMs;
      this.#after(endMs, () => control.service.cutOff.delete(machine.index));
    });
  }

  /** Dies with its next checkpoint half stored: right behind rule and overrides, or after some of the requests. */
  #halveCheckpoint(node: SimNode): void {
    const random = this.#random;
    const requests = random.chance(0.5) ? null : 1 + random.below(6);
    const isStoreLost = random.chance(0.5);
    const backMs = random.chance(0.5) ? 100 : this.#durationMs();
    this.#cluster.checkpoints.ambush(node.machine.index, requests, () => {
      if (this.#isHealed) return;
      node.kill();
      // With the store gone as well, nothing that was on its way arrives.
      if (isStoreLost) this.#takeAway("mongoAway", 100);
      this.#after(backMs, () => node.boot());
    });
  }

  #jumpMaxMs(): number {
    return this.#random.chance(0.7) ? 2000 : WALL_JUMP_MAX_MS;
  }

  /** Frames between this machine and some others are lost, one way or both. */
  #cut(node: SimNode): void {
    const { network } = this.#cluster;
    const isBothWays = this.#random.chance(0.5);
    const durationMs = this.#durationMs();
    for (const other of this.joined) {
      if (other === node || this.#random.chance(0.4)) continue;
      const [a, b] = [node.machine.index, other.machine.index];
      const [from, to] = this.#random.chance(0.5) ? [a, b] : [b, a];
      network.cut(from, to);
      if (isBothWays) network.cut(to, from);
      this.#after(durationMs, () => {
        network.mend(from, to);
        network.mend(to, from);
      });
    }
  }

  /** The machine has no way to some of the servers. */
  #cutOff(node: SimNode): void {
    const { logs, control, checkpoints, world } = this.#cluster;
    const durationMs = this.#durationMs();
    const { index } = node.machine;
    const stores = [logs, control, checkpoints].filter(() => this.#random.chance(0.6));
    for (const { service } of stores) {
      service.cutOff.add(index);
      this.#after(durationMs, () => service.cutOff.delete(index));
    }
    world.trace("cut off", index, stores.length, Math.round(durationMs));
  }

  /** Answers come late to the machine, about when a renewal is given up; often it freezes or is cut off meanwhile. */
  #lag(node: SimNode): void {
    const { logs, control, checkpoints, world } = this.#cluster;
    const { index } = node.machine;
    const lagMs = this.#random.between(0.1, 0.26) * this.#cluster.plan.leaseTtlMs;
    const durationMs = this.#durationMs();
    for (const { service } of [logs, control, checkpoints]) {
      service.lags.set(index, lagMs);
      this.#after(durationMs, () => service.lags.delete(index));
    }
    world.trace("lag", index, Math.round(lagMs), Math.round(durationMs));
    if (this.#random.chance(0.3)) return;
    const next = this.#random.pick(["pause", "cutOff"] as const);
    this.#after(this.#random.unit() * durationMs, () => this.#injectNode(next, node));
  }

  #takeAway(family: "natsAway" | "mongoAway", durationMs: number = this.#durationMs()): void {
    const { logs, control, checkpoints, network, world } = this.#cluster;
    world.trace(family, Math.round(durationMs));
    if (family === "mongoAway") {
      checkpoints.service.isAway = true;
      return this.#after(durationMs, () => {
        checkpoints.service.isAway = false;
      });
    }
    const setAway = (isAway: boolean): void => {
      logs.service.isAway = isAway;
      control.service.isAway = isAway;
      network.isAway = isAway;
    };
    setAway(true);
    return this.#after(durationMs, () => {
      for (const { machine } of this.joined) this.#comeBackLate(machine.index);
      setAway(false);
    });
  }

  /** Each process finds its way back to the servers by a timer of its own. */
  #comeBackLate(machine: number): void {
    const { logs, control } = this.#cluster;
    if (this.#random.chance(0.4)) return;
    const lateMs = this.#random.between(0, RECONNECT_MAX_MS);
    for (const { service } of [logs, control]) {
      service.cutOff.add(machine);
      this.#after(lateMs, () => service.cutOff.delete(machine));
    }
  }

  #join(): void {
    const next = this.#cluster.nodes.find((node) => !this.#joined.has(node));
    if (next === undefined) return;
    this.#joined.add(next);
    next.boot();
  }

  #loseLeader(): void {
    const { logs } = this.#cluster;
    const all = logs.list();
    if (all.length === 0) return;
    // A recent one: the others are hardly written to.
    const incarnation = all[Math.max(0, all.length - 1 - this.#random.below(4))] as number;
    logs.loseLeader(incarnation, this.#random.between(500, 9000));
  }

  /** What an operator asks of a node. */
  #operate(family: FaultFamily, node: SimNode): void {
    const { life } = node;
    const others = this.joined.filter((other) => other !== node);
    const target = others.length === 0 ? null : this.#random.pick(others);
    const stopsAfterMs = this.#random.between(5000, 60_000);
    life?.run(() => {
      const router = node.current?.router;
      if (router === undefined) return;
      const ignore = (): void => undefined;
      if (family === "rebalance") {
        router.rebalance({ isDryRun: false }).then(ignore, ignore);
      } else if (family === "drain" && target !== null) {
        this.#drained.add(target);
        router.drain(nameOf(target)).then(ignore, ignore);
        this.#after(stopsAfterMs, () => target.leave());
        this.#after(stopsAfterMs + 40_000, () => target.boot());
      }
    });
  }
}

/** The node's name in settings. */
export function nameOf(node: SimNode): string {
  return `n${node.machine.index}`;
}
