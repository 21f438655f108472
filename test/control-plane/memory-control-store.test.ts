import { describeControlStore } from "../conformance/control-store.ts";
import { MemoryControlRecords, MemoryControlStore } from "../support/memory-control-store.ts";

describeControlStore("in memory", async () => {
  const shared = new MemoryControlRecords();
  return {
    connect: async () => new MemoryControlStore(shared),
    dispose: async () => undefined,
  };
});
