/**
 * Sees which nodes act as coordinator, from outside: who declares others dead, seals logs, begins moves or ends members.
 * An act lasts from its call to its answer; acts of two machines that overlap are two coordinators at once.
 * Invariant: the ports that it hands out do what those below do, at the same instants.
 */

import { type ControlStore, incarnationOfKey, TABLE_KEY } from "../control-plane/control-store.ts";
import { parseTable } from "../control-plane/control-table-codec.ts";
import { parseLease } from "../control-plane/lease-record.ts";
import { type ControlTable, NOBODY } from "../model/ownership.ts";
import type { NodeLog } from "../wal/node-log.ts";
import type { SimLife } from "./sim-life.ts";

export class CoordinatorWatch {
  readonly #table: () => ControlTable | null;
  /** Acts under way, by life. */
  readonly #acting: Map<SimLife, number> = new Map();
  acts = 0;
  /** Acts that began while another machine was at one. */
  overlaps = 0;
  /** Called with who acts, when its request is on its way. */
  onAct: ((life: SimLife) => void) | null = null;

  /** `table`: as it was stored last. */
  constructor(table: () => ControlTable | null) {
    this.#table = table;
  }

  control(life: SimLife, store: ControlStore): ControlStore {
    return {
      read: (key) => store.read(key),
      readLeases: () => store.readLeases(),
      deleteLease: (incarnation) => store.deleteLease(incarnation),
      watch: (listener) => store.watch(listener),
      close: () => store.close(),
      put: (key, value, expectedRevision) => {
        const isAct = key === TABLE_KEY ? this.#changesHands(value) : isDeath(key, value);
        const answer = store.put(key, value, expectedRevision);
        if (isAct) this.#act(life, answer);
        return answer;
      },
    };
  }

  /** `log` itself, watched from now on. */
  log(life: SimLife, log: NodeLog): NodeLog {
    const [seal, create] = [log.seal.bind(log), log.create.bind(log)];
    const own = new Set<number>();
    log.create = (incarnation) => {
      own.add(incarnation);
      return create(incarnation);
    };
    log.seal = (incarnation) => {
      const answer = seal(incarnation);
      if (!own.has(incarnation)) this.#act(life, answer);
      return answer;
    };
    return log;
  }

  #act(life: SimLife, answer: Promise<unknown>): void {
    this.acts++;
    for (const [other, count] of this.#acting) {
      if (count === 0 || other.machine === life.machine || !other.isAlive) continue;
      this.overlaps++;
      break;
    }
    this.#acting.set(life, (this.#acting.get(life) ?? 0) + 1);
    const done = (): void => {
      this.#acting.set(life, (this.#acting.get(life) ?? 0) - 1);
    };
    answer.then(done, done);
    this.onAct?.(life);
  }

  #changesHands(value: Uint8Array): boolean {
    const now = this.#table();
    const { ok: table } = parseTable(value);
    if (now === null || table === undefined) return false;
    const alive = new Map(now.members.map(({ incarnation, state }) => [incarnation, state]));
    const ends = table.members.some(({ incarnation, state }) => {
      return state === "dead" && alive.get(incarnation) === "alive";
    });
    return (
      ends ||
      table.partitions.some(({ moveTo }, i) => {
        return moveTo !== NOBODY && moveTo !== now.partitions[i]?.moveTo;
      })
    );
  }
}

/** Of another one: nobody declares itself dead. */
function isDeath(key: string, value: Uint8Array): boolean {
  return parseLease(value, incarnationOfKey(key) ?? 0).ok?.state === "dead";
}
