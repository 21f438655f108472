/**
 * Lines and server-sent events out of a response body. Lines are bounded, so that a broken peer can't fill the memory.
 * A body that breaks off throws; it never looks like a body that ended.
 */

export const LINE_LENGTH_MAX: number = 1024 * 1024;

export interface ServerSentEvent {
  /** "message" when unnamed. */
  readonly event: string;
  /** The last id seen in the stream, null when there was none. */
  readonly id: string | null;
  readonly data: string;
}

/** Splits a body into lines without their ends (LF, CRLF or CR). Cancels the body when the loop is left. */
export async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += decoder.decode(value, { stream: true });
      // A CR at the end may be the first half of CRLF: it waits for the next chunk.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      if (rest.length > LINE_LENGTH_MAX)
        throw new Error(`A line is longer than ${LINE_LENGTH_MAX}`);
      yield* lines;
    }
    if (rest !== "") yield rest.replace(/\r$/, "");
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Parses `text/event-stream`; comments (heartbeats) and `retry` are skipped. */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<ServerSentEvent> {
  let event = "message";
  let id: string | null = null;
  let data: string[] = [];
  for await (const line of readLines(body)) {
    if (line === "") {
      if (data.length > 0) yield { event, id, data: data.join("\n") };
      event = "message";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") event = value;
    else if (field === "id" && !value.includes("\0")) id = value;
  }
}
