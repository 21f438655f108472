import { createUwsHttpServer } from "../../src/http/uws-http-server.ts";
import { describeHttpParsing } from "../conformance/http-parsing.ts";

describeHttpParsing("uws", async (options) => createUwsHttpServer(options));
