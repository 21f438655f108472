import { createNodeHttpServer } from "../../src/http/node-http-server.ts";
import { describeHttpParsing } from "../conformance/http-parsing.ts";

describeHttpParsing("node", async (options) => createNodeHttpServer(options));
