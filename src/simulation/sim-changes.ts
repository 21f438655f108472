/**
 * Where status changes are stored, as a stream with ids: behind delays, lost requests and lost answers. What was stored
 * stays; repeats are one.
 */

import { CatchallError } from "../model/errors.ts";
import type { ChangeSink } from "../notifications/change-outbox.ts";
import type { SimLife } from "./sim-life.ts";
import { type ServiceFaults, SimService } from "./sim-service.ts";
import type { SimWorld } from "./sim-world.ts";

const CALL_TIMEOUT_MS = 5000;

export class SimChanges {
  readonly service: SimService;
  readonly ids: Set<string> = new Set();

  constructor(world: SimWorld, faults: ServiceFaults) {
    this.service = new SimService(world, "changes", faults);
  }

  connect(life: SimLife): ChangeSink {
    return {
      name: "simulated",
      isRequired: true,
      store: async (changes) => {
        const answer = await this.service.call(life, CALL_TIMEOUT_MS, () => {
          for (const { id } of changes) this.ids.add(id);
        });
        if (answer === null) throw new CatchallError("log_unavailable", "No answer to changes");
      },
    };
  }

  heal(): void {
    this.service.heal();
  }
}
