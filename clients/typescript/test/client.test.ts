/** What the client sends, when it sends it again, and what it makes of answers; against a server that plays a script. */

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, test } from "node:test";

import {
  Client,
  ClientError,
  Problem,
  UnexpectedAnswer,
  Unreachable,
  type Interaction,
  type Options,
} from "../src/index.js";

interface Asked {
  url: string;
  method: string;
  headers: IncomingMessage["headers"];
  body: string;
}
interface Answer {
  status: number;
  body?: unknown;
  type?: string;
  headers?: Record<string, string>;
  /** What is sent of a body that is longer. */
  part?: { text: string; stays: boolean };
}

const LOST: Answer = { status: 0 };
const CUT: Answer = { status: 200, part: { text: "{", stays: false } };
const EMPTY = { text: "", stays: true };
const STALLED: Answer = { status: 200, part: { text: "{", stays: true } };
const PROBLEM_TYPE = "application/problem+json";
const ANSWER = {
  snapshot: "1-1",
  learned_through: null,
  offsets: {},
  staleness_seconds: 0,
  log_away_seconds: 0,
  items: [],
  source: "popular",
  reason: null,
  exact: true,
  impression: null,
  of_tomorrow: true,
};
let server: Server | undefined;

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A client of a server that gives these answers in turn, and what it was asked. */
async function playing(answers: Answer[], options: Partial<Options> = {}): Promise<[Client, Asked[]]> {
  const asked: Asked[] = [];
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    asked.push({ url: request.url!, method: request.method!, headers: request.headers, body });
    const answer = answers[asked.length - 1] ?? { status: 500 };
    if (answer === LOST) return void request.socket.destroy();
    const type = answer.type ?? "application/json";
    response.writeHead(answer.status, { "Content-Type": type, ...answer.headers });
    if (answer.part !== undefined) {
      response.write(answer.part.text, () => answer.part!.stays || request.socket.destroy());
      return;
    }
    response.end(JSON.stringify(answer.body ?? ANSWER));
  });
  await new Promise<void>((listening) => server!.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const retries = { firstPause: 0, attempts: 3, ...options.retries };
  return [new Client({ server: url, gateway: url, ...options, retries }), asked];
}

const ok: Answer = { status: 200 };

function problem(status: number, headers: Record<string, string> = {}): Answer {
  const body = { type: "about:blank", title: "Title", status, detail: "look" };
  return { status, body, type: PROBLEM_TYPE, headers };
}

function receipt(accepted: number, ...lines: number[]): Answer {
  const refused = lines.map((line) => ({ line, field: "user", reason: "so", code: "schema" }));
  return { status: accepted ? 202 : 422, body: { accepted, refused } };
}

function views(count: number): Interaction[] {
  return Array.from({ length: count }, (_, n) => ({ user: `user-${n}`, item: "mug", type: "view", time: n }));
}

const keys = (asked: Asked[]) => asked.map(({ headers }) => headers["idempotency-key"]);

test("parameters are repeated and ids escaped", async () => {
  const [client, asked] = await playing([ok]);
  const answer = await client.recommend("a/b?c", { k: 3, exclude: ["x", "y z"], explain: true });
  assert.equal(answer.source, "popular");
  assert.equal(asked[0]!.url, "/v1/users/a%2Fb%3Fc/recommendations?k=3&exclude=x&exclude=y%20z&explain=true");
});

test("an id that a URL takes for a folder is refused, before anything is asked", async () => {
  const [client, asked] = await playing([ok, ok]);
  for (const id of [".", "..", "\ud83d"]) {
    await assert.rejects(client.recommend(id), ClientError);
    await assert.rejects(client.rating("ann", id), ClientError);
    await assert.rejects(client.removeUser(id), /id/);
  }
  await client.similar("...");
  await client.similar("ünï");
  assert.deepEqual(
    asked.map(({ url }) => url),
    ["/v1/items/.../similar", "/v1/items/%C3%BCn%C3%AF/similar"],
  );
});

test("keys may have any characters", async () => {
  const [client, asked] = await playing([ok, receipt(1)], { key: "ключ-日本語-é" });
  await client.model();
  await client.sendInteractions(views(1), "заказ 7");
  const sent = asked.map(({ headers }) => Buffer.from(headers["x-api-key"] as string, "latin1").toString());
  assert.deepEqual(sent, ["ключ-日本語-é", "ключ-日本語-é"]);
  assert.equal(asked[1]!.headers["idempotency-key"], `${encodeURIComponent("заказ")} 7-0`);
  assert.throws(() => new Client({ key: "secret\n" }), /line breaks/);
});

test("a rating is asked for by user and item", async () => {
  const [client, asked] = await playing([ok]);
  await client.rating("a/b", "mug?");
  assert.equal(asked[0]!.url, "/v1/users/a%2Fb/ratings/mug%3F");
});

test("a history is sent as JSON", async () => {
  const [client, asked] = await playing([ok]);
  await client.recommendForHistory([{ item: "mug" }, { item: "cup", type: "purchase" }], { k: 2 });
  assert.deepEqual(JSON.parse(asked[0]!.body), {
    history: [{ item: "mug" }, { item: "cup", type: "purchase" }],
  });
});

test("a history has the attributes of whose it is", async () => {
  const [client, asked] = await playing([ok]);
  await client.recommendForHistory([], { k: 2 }, { country: "Peru", sizes: ["M", 42] });
  assert.equal(asked[0]!.url, "/v1/recommendations?k=2");
  assert.deepEqual(JSON.parse(asked[0]!.body), {
    history: [],
    attributes: { country: "Peru", sizes: ["M", 42] },
  });
});

test("users are sent with their attributes", async () => {
  const [client, asked] = await playing([receipt(1)]);
  await client.sendUsers([{ user: "ann", attributes: { country: "Peru", member: true } }]);
  assert.equal(asked[0]!.url, "/v1/users");
  assert.deepEqual(JSON.parse(asked[0]!.body), [
    { user: "ann", attributes: { country: "Peru", member: true } },
  ]);
});

test("each service gets its key", async () => {
  const [client, asked] = await playing([ok, receipt(1)], { key: "one", gatewayKey: "other" });
  await client.similar("mug");
  await client.removeItem("mug");
  assert.deepEqual(
    asked.map(({ headers }) => headers["x-api-key"]),
    ["one", "other"],
  );
});

test("what may pass is sent again, when the answer says", async () => {
  const [client, asked] = await playing([problem(503, { "Retry-After": "1" }), LOST, ok]);
  const started = performance.now();
  await client.recommend("ann");
  assert.equal(asked.length, 3);
  assert.ok(performance.now() - started >= 990);
});

test("what stays is not sent again", async () => {
  const [client, asked] = await playing([problem(404)]);
  await assert.rejects(client.similar("never"), (error) => {
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.title, error.detail], [404, "Title", "look"]);
    return true;
  });
  assert.equal(asked.length, 1);
});

test("attempts are bounded", async () => {
  const [client, asked] = await playing([LOST, LOST, LOST, LOST]);
  await assert.rejects(client.model(), Unreachable);
  assert.equal(asked.length, 3);
});

test("a longer pause than allowed fails at once", async () => {
  const [client, asked] = await playing([problem(429, { "Retry-After": "31" })]);
  await assert.rejects(client.model(), (error) => error instanceof Problem && error.retryAfter === 31);
  assert.equal(asked.length, 1);
});

test("an error of a proxy is a problem", async () => {
  const [client] = await playing([{ status: 403, body: "no", type: "text/html" }]);
  await assert.rejects(client.model(), (error) => error instanceof Problem && error.title === "Forbidden");
});

test("not ready is an answer", async () => {
  const [client, asked] = await playing([{ status: 503, body: { ready: false } }]);
  assert.equal((await client.readiness()).ready, false);
  assert.equal(asked.length, 1);
});

test("events are divided, and refused ones numbered through", async () => {
  const [client, asked] = await playing([receipt(1, 2), receipt(0, 1, 2), receipt(1)], { batches: { events: 2 } });
  const sent = await client.sendInteractions(views(5));
  assert.deepEqual(
    asked.map(({ body }) => JSON.parse(body).length),
    [2, 2, 1],
  );
  assert.equal(sent.accepted, 2);
  assert.deepEqual(
    sent.refused.map(({ line }) => line),
    [2, 3, 4],
  );
});

test("bodies are bounded in bytes", async () => {
  const [client, asked] = await playing([receipt(1), receipt(1)], { batches: { maxBytes: 100 } });
  await client.sendItems([
    { item: "mug", title: "m".repeat(80) },
    { item: "cup", available: false },
  ]);
  assert.equal(asked.length, 2);
});

test("a batch that is sent again has the same key and the same body", async () => {
  const answers = [LOST, problem(429, { "Retry-After": "0" }), receipt(2), receipt(2)];
  const [client, asked] = await playing(answers, { batches: { events: 2 } });
  await client.sendInteractions(views(4), "order-7");
  assert.deepEqual(keys(asked), ["order-7-0", "order-7-0", "order-7-0", "order-7-1"]);
  assert.equal(new Set(asked.slice(0, 3).map(({ body }) => body)).size, 1);
});

test("every call has a key of its own", async () => {
  const [client, asked] = await playing([receipt(1), receipt(1)]);
  await client.sendInteractions(views(1));
  await client.sendInteractions(views(1));
  assert.equal(new Set(keys(asked)).size, 2);
});

test("an error tells what became of the batches before", async () => {
  const [client] = await playing([receipt(1, 2), problem(413)], { batches: { events: 2 } });
  await assert.rejects(client.sendInteractions(views(4)), (error) => {
    assert.ok(error instanceof Problem);
    assert.equal(error.receipt?.accepted, 1);
    return true;
  });
});

test("an answer that is cut off or stalls is none, and asked for again", async () => {
  const [client, asked] = await playing([CUT, STALLED, ok], { retries: { timeout: 0.2 } });
  assert.equal((await client.recommend("ann")).source, "popular");
  assert.equal(asked.length, 3);
});

test("a batch whose answers are cut off fails with the receipt of those before", async () => {
  const [client] = await playing([receipt(2), CUT, CUT, CUT], { batches: { events: 2 } });
  await assert.rejects(client.sendInteractions(views(4)), (error) => {
    assert.ok(error instanceof Unreachable);
    assert.equal(error.receipt?.accepted, 2);
    return true;
  });
});

const FOREIGN: Record<string, Answer> = {
  text: { status: 200, body: "a page" },
  nothing: { status: 204 },
  "a page": { status: 200, part: { text: "<html>", stays: true }, headers: { "Content-Length": "6" } },
};
for (const [name, answer] of Object.entries(FOREIGN)) {
  test(`a success that is no answer of millstream's is unexpected: ${name}`, async () => {
    const [client, asked] = await playing([answer]);
    await assert.rejects(client.model(), UnexpectedAnswer);
    assert.equal(asked.length, 1);
  });
}

test("a redirection is not followed: another host would get the key", async () => {
  const elsewhere = { status: 307, headers: { Location: "/elsewhere" } };
  const [client, asked] = await playing([elsewhere, ok], { key: "one" });
  await assert.rejects(client.model(), (error) => error instanceof Problem && error.status === 307);
  assert.equal(asked.length, 1);
});

test("an error without a body says nothing more than its status", async () => {
  const [client] = await playing([{ status: 404, part: EMPTY, headers: { "Content-Length": "0" } }]);
  await assert.rejects(client.model(), (error) => error instanceof Problem && error.detail === "");
});

test("a key may have any characters", async () => {
  const [client, asked] = await playing([receipt(1)]);
  await client.sendInteractions(views(1), "заказ 7\n");
  assert.deepEqual(keys(asked), ["%D0%B7%D0%B0%D0%BA%D0%B0%D0%B7 7%0A-0"]);
});

test("an empty key is none: two calls have different ones", async () => {
  const [client, asked] = await playing([receipt(1), receipt(1)]);
  await client.sendInteractions(views(1), "");
  await client.sendInteractions(views(1), "");
  assert.equal(new Set(keys(asked)).size, 2);
});
