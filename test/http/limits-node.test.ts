import { createNodeHttpServer } from "../../src/http/node-http-server.ts";
import { describeHttpHangs } from "../conformance/http-parsing.ts";

describeHttpHangs("node", async (options) => createNodeHttpServer(options));
