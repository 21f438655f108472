/**
 * Adapter: ends the log of an incarnation for ever by an entry of kind SEAL, against an owner that may still append.
 * Any number of sealers may work at once: all get the sequence of the one SEAL that got in.
 * Safety: every try is fenced by the last sequence it saw, so a try of unknown outcome that arrives late is refused or
 * is the SEAL.
 */

import { CatchallError } from "../model/errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { natsHeaders } from "../runtime/nats-requests.ts";
import type { Random } from "../runtime/random.ts";
import {
  chainSeed,
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  readEntryHeader,
  sealEnvelope,
} from "./entry-codec.ts";
import { type JetStreamApi, pause, publishReply, WRONG_LAST_SEQUENCE } from "./jetstream-api.ts";

/** One try. */
const SEAL_TIMEOUT_MS = 2000;
/** All tries together; the coordinator comes again. */
const SEAL_LIMIT_MS = 15_000;
/** After an outcome that says nothing, before looking again. */
const LOOK_AGAIN_MS = 50;

export interface SealTask {
  readonly api: JetStreamApi;
  readonly stream: string;
  readonly subject: string;
  readonly incarnation: number;
  readonly storeId: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Makes the stream, or throws `conflict` when somebody else just did. */
  readonly createStream: () => Promise<void>;
}

/**
 * Resolves to the sequence of the SEAL. A log that was never created is created and sealed at 1, so that a slow owner
 * can't create it afterwards. Errors: CatchallError `log_unavailable`, `log_damaged`.
 */
export async function sealStream(task: SealTask): Promise<number> {
  const { api, clock } = task;
  const deadlineMs = clock.monotonicMs() + SEAL_LIMIT_MS;
  while (clock.monotonicMs() < deadlineMs) {
    const last = await lastEntry(task);
    if (last.kind === ENTRY_KIND_SEAL) return last.sequence;
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES);
    const sequence = last.sequence + 1;
    const header = {
      kind: ENTRY_KIND_SEAL,
      nonce: task.random.uint32(),
      incarnation: task.incarnation,
      sequence,
      // Nothing follows that could need a later time.
      timeMs: last.timeMs,
    };
    sealEnvelope(bytes, header, last.crc);
    const headers = natsHeaders({
      "Nats-Expected-Last-Sequence": String(last.sequence),
      "Nats-Expected-Stream": task.stream,
    });
    const outcome = await api.requests.request(task.subject, bytes, SEAL_TIMEOUT_MS, headers);
    if (outcome.kind === "reply") {
      const reply = publishReply(outcome.message.data);
      if (reply.kind === "stored" && reply.sequence === sequence) return sequence;
      if (reply.kind === "refused" && reply.error === WRONG_LAST_SEQUENCE) continue;
    }
    await pause(LOOK_AGAIN_MS);
  }
  throw api.failure(`Stream ${task.stream} could not be sealed within ${SEAL_LIMIT_MS} ms`);
}

interface LastEntry {
  /** 0 when the log is empty. */
  readonly sequence: number;
  readonly kind: number | null;
  readonly crc: number;
  readonly timeMs: number;
}

async function lastEntry(task: SealTask): Promise<LastEntry> {
  const { api, stream } = task;
  const message = await api.message(stream, { last_by_subj: task.subject });
  if (message === null) return emptyLog(task);
  const { data, sequence } = message;
  const fault = data.length < ENTRY_HEADER_BYTES ? "it is too short" : faultOf(task, message);
  if (fault !== null) {
    throw new CatchallError("log_damaged", `Stream ${stream}, entry ${sequence}: ${fault}`);
  }
  const { kind, timeMs } = readEntryHeader(data);
  const crc = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(4, true);
  return { sequence, kind, crc, timeMs };
}

/** The chain before it is not read here: recovery reads and checks all of it. */
function faultOf(task: SealTask, message: { sequence: number; data: Uint8Array }): string | null {
  const header = readEntryHeader(message.data);
  if (header.sequence !== message.sequence) return `it says it is ${header.sequence}`;
  if (header.incarnation !== task.incarnation) {
    return `it belongs to incarnation ${header.incarnation}`;
  }
  return Number.isFinite(header.timeMs) ? null : "its time is not a number";
}

async function emptyLog(task: SealTask): Promise<LastEntry> {
  const { api, stream, clock } = task;
  const state = await api.streamState(stream);
  if (state === null) {
    try {
      await task.createStream();
    } catch (error) {
      if (!(error instanceof CatchallError && error.code === "conflict")) throw error;
    }
  } else if (state.lastSequence > 0 && state.messages === 0) {
    // Trimming never empties a log: the last entry, and with it the end, is lost.
    throw new CatchallError("log_damaged", `Stream ${stream} lost its last entries`);
  }
  const crc = chainSeed(task.incarnation, task.storeId);
  return { sequence: 0, kind: null, crc, timeMs: clock.wallMs() };
}
