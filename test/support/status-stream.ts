/** Collects what a stream of server-sent events says. */

import assert from "node:assert/strict";

export class StatusStream {
  text = "";
  readonly #controller = new AbortController();

  static async open(url: string, path: string): Promise<StatusStream> {
    const stream = new StatusStream();
    const response = await fetch(`${url}${path}`, {
      headers: { accept: "text/event-stream" },
      signal: stream.#controller.signal,
    });
    assert.equal(response.status, 200);
    void stream.#read(response).catch(() => undefined);
    return stream;
  }

  close(): void {
    this.#controller.abort();
  }

  async #read(response: Response): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      this.text += decoder.decode(chunk as Uint8Array, { stream: true });
    }
  }
}
