/**
 * Adapter: one pool of connections to MongoDB, shared by everything of a node that keeps data there. Every call ends
 * within its time limit, whatever MongoDB does: the driver has no limit of its own that holds (a frozen server answers
 * nothing for ever). A call that is given up may still take effect later, so every write must be safe to come late.
 * Connects when first used and reconnects by itself. Must never put the URL, which may hold a password, into a message.
 */

import { type Collection, type Db, type Document, MongoClient, MongoServerError } from "mongodb";
import { CatchallError } from "../model/errors.ts";
import { redactText } from "./redact.ts";

/** One call, waiting for a server and for a connection of the pool included. */
export const MONGO_CALL_TIMEOUT_MS = 10_000;
const SERVER_SELECTION_TIMEOUT_MS = 3000;
const POOL_SIZE_MAX = 8;

export interface MongoConnectionOptions {
  /** `mongodb://` or `mongodb+srv://`. */
  readonly mongoUrl: string;
  /** Name of the database: the cluster's name. */
  readonly database: string;
  /** Shown in the server's log and list of connections. */
  readonly name: string;
  /** Default MONGO_CALL_TIMEOUT_MS. */
  readonly callTimeoutMs?: number;
}

export class MongoConnection {
  readonly client: MongoClient;
  readonly db: Db;
  readonly callTimeoutMs: number;
  /** Null until first used, and again after it failed. */
  #connecting: Promise<unknown> | null = null;
  #isClosed = false;

  /** Does not connect yet. Errors: CatchallError `checkpoint_unavailable` for a URL that makes no sense. */
  constructor(options: MongoConnectionOptions) {
    this.callTimeoutMs = options.callTimeoutMs ?? MONGO_CALL_TIMEOUT_MS;
    const selectionMs = Math.min(SERVER_SELECTION_TIMEOUT_MS, this.callTimeoutMs);
    try {
      this.client = new MongoClient(options.mongoUrl, {
        appName: options.name,
        maxPoolSize: POOL_SIZE_MAX,
        serverSelectionTimeoutMS: selectionMs,
        connectTimeoutMS: selectionMs,
        waitQueueTimeoutMS: this.callTimeoutMs,
        // Frees the connections of calls that were given up.
        socketTimeoutMS: this.callTimeoutMs,
        heartbeatFrequencyMS: 2000,
        promoteBuffers: true,
        readPreference: "primary",
        readConcern: { level: "majority" },
        writeConcern: { w: "majority", journal: true, wtimeoutMS: this.callTimeoutMs },
      });
    } catch (error) {
      throw unavailable("The MongoDB URL is not usable", error);
    }
    this.db = this.client.db(options.database);
  }

  collection<T extends Document>(name: string): Collection<T> {
    return this.db.collection<T>(name);
  }

  /**
   * Runs one call with the time limit. Errors: CatchallError `checkpoint_unavailable`, saying what was asked and why it
   * failed; a CatchallError of `work` passes through.
   */
  call<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#limited(what, () => this.#connected().then(work));
  }

  /** Ends calls that run as failed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#limited("close", () => this.client.close(true)).catch(() => undefined);
  }

  /** The driver would try by itself only once: a first connection that failed leaves it closed for ever. */
  #connected(): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(new Error("the connection is closed"));
    this.#connecting ??= this.client.connect().catch((error: unknown) => {
      this.#connecting = null;
      throw error;
    });
    return this.#connecting;
  }

  async #limited<T>(what: string, work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        const message = `MongoDB did not ${what} within ${this.callTimeoutMs} ms`;
        reject(new CatchallError("checkpoint_unavailable", message));
      }, this.callTimeoutMs);
    });
    try {
      return await Promise.race([work(), late]);
    } catch (error) {
      if (error instanceof CatchallError) throw error;
      throw unavailable(`MongoDB did not ${what}`, error);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** True when MongoDB answered, but does not know the user, its password, or does not let it do what was asked. */
export function isAccessRefused(error: unknown): boolean {
  const cause = error instanceof CatchallError ? error.cause : error;
  return cause instanceof MongoServerError && ACCESS_REFUSED.has(Number(cause.code));
}

/** Unauthorized, AuthenticationFailed. */
const ACCESS_REFUSED: ReadonlySet<number> = new Set([13, 18]);

/** True for an upsert that met another one: the document is there now, so that a repeat is an update. */
export function isDuplicateKey(error: unknown): boolean {
  const cause = error instanceof CatchallError ? error.cause : error;
  return cause instanceof MongoServerError && cause.code === 11_000;
}

function unavailable(message: string, cause: unknown): CatchallError {
  const reason = cause instanceof Error ? redactText(cause.message) : String(cause);
  return new CatchallError("checkpoint_unavailable", `${message}: ${reason}`, { cause });
}
