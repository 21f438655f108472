import { createUwsHttpServer } from "../../src/http/uws-http-server.ts";
import { describeHttpHangs } from "../conformance/http-parsing.ts";

describeHttpHangs("uws", async (options) => createUwsHttpServer(options));
