/**
 * Port: frames between incarnations. At most once, may be late, may be duplicated, never to another incarnation than the
 * one named (a restarted node is another one).
 * Safety: a request without reply says nothing about what the other side did.
 */

/** Largest frame, either way: under the default payload limit of the servers. */
export const FRAME_BYTES_MAX: number = 768 * 1024;

/**
 * Handles one request; the frame is valid until the promise settles. A rejection becomes no reply (the asker's deadline
 * ends it), so expected failures are encoded in the reply.
 */
export type FrameHandler = (frame: Uint8Array) => Promise<Uint8Array>;

export interface Transport {
  /** The incarnation that this end serves. */
  readonly self: number;
  /**
   * Resolves to the reply. Rejects with CatchallError `no_responder` (certain: nobody received it, effect none) or
   * `outcome_unknown` (deadline passed, or the connection broke).
   * `frame` may be reused once the promise has settled, not before.
   */
  request(incarnation: number, frame: Uint8Array, deadlineMs: number): Promise<Uint8Array>;
  /** Answers requests to `self` from now on. */
  serve(handler: FrameHandler): void;
  /** Tells every incarnation, this one included; no reply, may be lost. */
  broadcast(frame: Uint8Array): void;
  onBroadcast(listener: (frame: Uint8Array) => void): void;
  close(): Promise<void>;
}
