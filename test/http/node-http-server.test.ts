import { createNodeHttpServer } from "../../src/http/node-http-server.ts";
import { describeHttpServer } from "../conformance/http-server.ts";

describeHttpServer("NodeHttpServer", async (options) => createNodeHttpServer(options));
