/**
 * One client: a connection that is kept while an honest client could keep it, and opened again when it can't.
 * Whether an answer is still to come is not a question of time: a client gives up once other requests that began after
 * its own last byte, on connections of their own, have been counted and answered.
 */
import { connect, type Socket } from "node:net";
import { type Answer, readAnswers, type StrictRequest } from "./http-reading.ts";

export interface LaneOutcome {
  readonly answers: readonly Answer[];
  /** The server ended the connection. */
  readonly isCut: boolean;
  /** An answer has begun that has no end. */
  readonly isStreaming: boolean;
  readonly fault: string | null;
}

/** What is one whole request is answered within this, however busy the machine. */
const ANSWER_MS_MAX = 12_000;
/** Requests of others that must have been answered meanwhile, one after the other. */
const ROUND_TRIPS = 2;

export class FuzzLane {
  readonly #port: number;
  readonly #roundTrip: () => Promise<void>;
  #socket: Socket | null = null;
  #text = "";
  #isCut = false;
  #wake: () => void = () => undefined;

  /** `roundTrip` resolves after a whole request of somebody else that began after the call. */
  constructor(port: number, roundTrip: () => Promise<void>) {
    this.#port = port;
    this.#roundTrip = roundTrip;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  /** Writes the pieces and resolves when nothing more is to come. */
  async send(pieces: readonly string[], strict: StrictRequest | null): Promise<LaneOutcome> {
    const isFresh = this.#socket === null || this.#isCut;
    const socket = isFresh ? await this.#open() : (this.#socket as Socket);
    this.#text = "";
    this.#wake = () => undefined;
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) await turns(2);
      socket.write(piece, "latin1");
    }
    const isHead = strict?.method === "HEAD";
    try {
      const read = () => readAnswers(this.#text, isHead);
      if (strict === null) await this.#untilQuiet();
      else await this.#until(() => this.#isCut || isEnough(read()), ANSWER_MS_MAX);
      const { answers, rest, isStreaming } = read();
      const isOver = isStreaming || strict === null || answers.length !== 1 || mustClose(answers);
      const isCut = this.#isCut;
      if (isOver) this.close();
      // What the parser refuses has a body, also when it was a HEAD; its connection ends with it.
      const isExpected = strict === null || isStreaming || (isHead && mustClose(answers));
      const isBroken = rest !== "" && !isExpected;
      return {
        answers,
        isCut,
        isStreaming,
        fault: isBroken ? `half an answer: ${rest.slice(0, 200)}` : null,
      };
    } catch (error) {
      this.close();
      return { answers: [], isCut: true, isStreaming: false, fault: String(error) };
    }
  }

  #open(): Promise<Socket> {
    this.#socket?.destroy();
    this.#isCut = false;
    const socket = connect({ port: this.#port, host: "127.0.0.1", noDelay: true });
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      if (this.#socket !== socket) return;
      this.#text += chunk;
      this.#wake();
    });
    const onEnd = (): void => {
      if (this.#socket !== socket) return;
      this.#isCut = true;
      this.#wake();
    };
    socket.on("end", onEnd);
    socket.on("close", onEnd);
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        socket.on("error", onEnd);
        resolve(socket);
      });
    });
  }

  /** Until the server ends the connection, or says nothing while others get their answers. */
  async #untilQuiet(): Promise<void> {
    for (let quiet = 0; quiet < ROUND_TRIPS && !this.#isCut; quiet++) {
      const before = this.#text.length;
      await Promise.race([this.#roundTrip(), this.#untilCut()]);
      if (this.#text.length !== before) quiet = -1;
    }
  }

  #untilCut(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        if (this.#isCut) resolve();
      };
    });
  }

  #until(condition: () => boolean, limitMs: number): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(settle, limitMs);
      this.#wake = () => {
        if (condition()) settle();
      };
    });
  }
}

function isEnough({ answers, isStreaming }: ReturnType<typeof readAnswers>): boolean {
  return isStreaming || answers.length > 0;
}

function mustClose(answers: readonly Answer[]): boolean {
  return answers.some(({ head }) => /\r\nconnection: close/i.test(head));
}

/** Turns of the event loop, each with a look at what has arrived. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
