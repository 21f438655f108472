/**
 * Stands for `catchall serve` in tests of the launcher: listens on --port, is ready, answers with its id, and notes its
 * start and end on standard output. With STUB_FAILS=<id> that one ends at once.
 */

import { createServer } from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  strict: false,
  options: { port: { type: "string" }, "node-id": { type: "string" } },
});
const id = String(values["node-id"]);
if (process.env["STUB_FAILS"] === id) {
  console.log(`${id} can't go on`);
  process.exit(3);
}
const server = createServer((request, response) => {
  response.setHeader("Connection", "close");
  response.end(request.url === "/arguments" ? process.argv.slice(2).join(" ") : id);
});
server.listen(Number(values.port), "127.0.0.1", () => console.log(`${id} serves`));
process.on("SIGTERM", () => {
  console.log(`${id} stops at ${Date.now()}`);
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
