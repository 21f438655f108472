import { LoopbackTransport } from "../../src/transport/loopback-transport.ts";
import { describeTransport } from "../conformance/transport.ts";

describeTransport("loopback", { reachesOthers: false }, async () => ({
  connect: async (incarnation) => new LoopbackTransport(incarnation),
  play: (work) => work(),
  settle: async () => undefined,
  dispose: async () => undefined,
}));
