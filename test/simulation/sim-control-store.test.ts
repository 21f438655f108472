import type { ControlStore } from "../../src/control-plane/control-store.ts";
import { SimControlStore } from "../../src/simulation/sim-control-store.ts";
import { NO_SERVICE_FAULTS } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { describeControlStore } from "../conformance/control-store.ts";
import { TestWorld } from "./test-world.ts";

/** Lets virtual time pass while a promise is awaited. */
function played(world: TestWorld, store: ControlStore): ControlStore {
  return {
    read: (key) => world.play(() => store.read(key)),
    readLeases: () => world.play(() => store.readLeases()),
    put: (key, value, expected) => world.play(() => store.put(key, value, expected)),
    deleteLease: (incarnation) => world.play(() => store.deleteLease(incarnation)),
    watch: (listener) => store.watch(listener),
    close: () => store.close(),
  };
}

describeControlStore("simulated", async () => {
  const world = new TestWorld();
  const none = { staleRead: 0, staleMaxMs: 0, watchLost: 0, watchRepeated: 0.5, watchLate: 0 };
  const store = new SimControlStore(
    world.world,
    { service: NO_SERVICE_FAULTS, ...none },
    historyOf([]),
  );
  let clients = 0;
  return {
    connect: async () => played(world, store.connect(world.boot(clients++))),
    dispose: async () => undefined,
    advance: (ms) => world.world.run(world.world.nowMs + ms),
  };
});
