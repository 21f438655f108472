/**
 * Where status changes are stored, as a stream with ids: behind delays, lost requests and lost answers. What was stored
 * stays; repeats are one.
 */

import { CatchallError } from "../model/errors.ts";
import type { StatusChange } from "../model/status-change.ts";
import type { ChangeSink } from "../notifications/change-outbox.ts";
import type { SimLife } from "./sim-life.ts";
import { type ServiceFaults, SimService } from "./sim-service.ts";
import type { SimWorld } from "./sim-world.ts";

const CALL_TIMEOUT_MS = 5000;

export class SimChanges {
  readonly service: SimService;
  readonly ids: Set<string> = new Set();
  readonly #check: (change: StatusChange) => void;

  /** `check` sees each change as it is stored, repeats as well. */
  constructor(world: SimWorld, faults: ServiceFaults, check: (change: StatusChange) => void) {
    this.service = new SimService(world, "changes", faults);
    this.#check = check;
  }

  connect(life: SimLife): ChangeSink {
    return {
      name: "simulated",
      isRequired: true,
      store: async (changes) => {
        const answer = await this.service.call(life, CALL_TIMEOUT_MS, () => {
          for (const change of changes) {
            this.ids.add(change.id);
            this.#check(change);
          }
        });
        if (answer === null) throw new CatchallError("log_unavailable", "No answer to changes");
      },
    };
  }

  heal(): void {
    this.service.heal();
  }
}
