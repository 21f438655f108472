/** What every Transport promises: each adapter and each simulated one runs this. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { FRAME_BYTES_MAX, type Transport } from "../../src/transport/transport.ts";

export interface TransportWorld {
  /** The end of one incarnation. */
  connect(incarnation: number): Promise<Transport>;
  /** Runs `work` to its end; a world of its own lets its time pass meanwhile. */
  play<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves once what `serve` and `close` did is known everywhere. */
  settle(): Promise<void>;
  dispose(): Promise<void>;
}

export interface TransportFeatures {
  /** False for a transport that reaches nobody but itself. */
  readonly reachesOthers: boolean;
}

const echo = async (frame: Uint8Array): Promise<Uint8Array> => Uint8Array.from(frame).reverse();

export function describeTransport(
  name: string,
  features: TransportFeatures,
  open: () => Promise<TransportWorld>,
): void {
  describe(`Transport: ${name}`, () => {
    let world: TransportWorld;
    let one: Transport;
    let server: Transport;

    beforeEach(async () => {
      world = await open();
      one = await world.connect(1);
      server = features.reachesOthers ? await world.connect(2) : one;
    });
    afterEach(async () => {
      await one.close();
      if (server !== one) await server.close();
      await world.dispose();
    });

    function ask(frame: Uint8Array, deadlineMs = 5000): Promise<Uint8Array> {
      return world.play(() => one.request(server.self, frame, deadlineMs));
    }

    it("says which incarnation it serves", () => {
      assert.equal(one.self, 1);
      assert.equal(server.self, features.reachesOthers ? 2 : 1);
    });

    it("carries any bytes both ways, up to the largest frame", async () => {
      server.serve(echo);
      await world.settle();
      for (const size of [0, 1, 256, 70_000, FRAME_BYTES_MAX]) {
        const frame = Uint8Array.from({ length: size }, (_, i) => i * 7);
        const want = Uint8Array.from(frame).reverse();
        assert.deepEqual(Buffer.from(await ask(frame)), Buffer.from(want));
      }
    });

    it("answers each of many requests at once with its own reply", async () => {
      server.serve(echo);
      await world.settle();
      const replies = await world.play(() =>
        Promise.all(
          Array.from({ length: 50 }, (_, i) => one.request(server.self, Uint8Array.of(i, 9), 5000)),
        ),
      );
      assert.deepEqual(
        replies.map((reply) => [...reply]),
        Array.from({ length: 50 }, (_, i) => [9, i]),
      );
    });

    it("knows that nobody is there", async () => {
      await world.play(() =>
        assert.rejects(one.request(99, new Uint8Array(3), 5000), { code: "no_responder" }),
      );
    });

    it("reaches nobody before serve and after close", async () => {
      const nobody = { code: "no_responder" };
      await world.play(() =>
        assert.rejects(one.request(server.self, new Uint8Array(3), 5000), nobody),
      );
      server.serve(echo);
      await world.settle();
      await ask(new Uint8Array(3));
      await server.close();
      await world.settle();
      await world.play(() =>
        assert.rejects(one.request(server.self, new Uint8Array(3), 5000), nobody),
      );
    });

    it("tells every incarnation, this one included", async () => {
      const heard: string[] = [];
      one.onBroadcast((frame) => heard.push(`one ${frame.join()}`));
      if (server !== one) server.onBroadcast((frame) => heard.push(`two ${frame.join()}`));
      server.serve(echo);
      await world.settle();
      one.broadcast(Uint8Array.of(4, 2));
      await ask(new Uint8Array(1));
      await world.settle();
      const want = features.reachesOthers ? ["one 4,2", "two 4,2"] : ["one 4,2"];
      assert.deepEqual(heard.sort(), want);
    });
  });
}
