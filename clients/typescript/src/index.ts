/** A typed client of millstream's server and gateway; its types are generated from their OpenAPI documents. */

import createClient from "openapi-fetch";

import { BATCHES, divide, type Batches } from "./batches.js";
import { ClientError, isObject, Problem, UnexpectedAnswer } from "./errors.js";
import type { paths as GatewayPaths } from "./generated/gateway.js";
import type { paths as ServerPaths } from "./generated/server.js";
import { mediaType, repeating, RETRIES, type Retries } from "./retries.js";
import { inHeader, keyed, pathOf } from "./texts.js";
import type {
  AnonymousAct,
  AnswerQuery,
  Attributes,
  GatewayReadiness,
  Interaction,
  Item,
  ItemChange,
  ModelCard,
  PredictedRating,
  Ranking,
  RankingRequest,
  Readiness,
  Receipt,
  Recommendations,
  RewardedAct,
  RewardRequest,
  SessionQuery,
  User,
} from "./types.js";

export * from "./batches.js";
export { ClientError, Problem, UnexpectedAnswer, Unreachable } from "./errors.js";
export * from "./types.js";
export { RETRIES, type Retries } from "./retries.js";

export interface Options {
  /** URL of the server, and of the gateway. */
  server: string;
  gateway: string;
  /** An API key of both, and of the gateway, if it has another. */
  key: string;
  gatewayKey: string;
  retries: Partial<Retries>;
  batches: Partial<Batches>;
}

const NO_ANSWER = "the answer is none of millstream's: is the URL another server's?";

interface Asked<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Asks the server and sends to the gateway. Every method throws a ClientError where it gets no answer. */
export class Client {
  readonly #server;
  readonly #gateway;
  readonly #batches: Batches;

  constructor(options: Partial<Options> = {}) {
    const { server = "http://127.0.0.1:8000", gateway = "http://127.0.0.1:8001", key } = options;
    const fetch = repeating({ ...RETRIES, ...options.retries });
    const shared = { fetch, pathSerializer: pathOf, redirect: "manual" } as const; // no other host gets the key
    this.#batches = { ...BATCHES, ...options.batches };
    this.#server = createClient<ServerPaths>({ baseUrl: server, ...shared, headers: keyed(key) });
    const headers = keyed(options.gatewayKey ?? key);
    this.#gateway = createClient<GatewayPaths>({ baseUrl: gateway, ...shared, headers });
  }

  /** What a user is most likely to act on next. */
  recommend(user: string, query: SessionQuery = {}): Promise<Recommendations> {
    const params = { path: { user }, query };
    return answered(this.#server.GET("/v1/users/{user}/recommendations", { params }));
  }

  /**
   * What somebody with this history, oldest first, is most likely to act on next; `attributes` are those of
   * whose history it is, as of a user.
   */
  recommendForHistory(
    history: AnonymousAct[],
    query: SessionQuery = {},
    attributes?: Attributes,
  ): Promise<Recommendations> {
    const body = attributes === undefined ? { history } : { history, attributes };
    return answered(this.#server.POST("/v1/recommendations", { body, params: { query } }));
  }

  /** The items that are closest to another. */
  similar(item: string, query: AnswerQuery = {}): Promise<Recommendations> {
    return answered(this.#server.GET("/v1/items/{item}/similar", { params: { path: { item }, query } }));
  }

  /** The rating that a user would give an item. */
  rating(user: string, item: string): Promise<PredictedRating> {
    return answered(this.#server.GET("/v1/users/{user}/ratings/{item}", { params: { path: { user, item } } }));
  }

  /** Rank actions, which are items, for a user; the first ones are shown, so many as `shown` says, or one. */
  rank(body: RankingRequest): Promise<Ranking> {
    return answered(this.#server.POST("/v1/rank", { body }));
  }

  /** Tell what came of an answer, by the `event_id` of a ranking; it counts once. */
  reward(event_id: string, body: RewardRequest): Promise<RewardedAct> {
    return answered(
      this.#server.POST("/v1/events/{event_id}/reward", { body, params: { path: { event_id } } }),
    );
  }

  /** The snapshot that is served, and what was read since. */
  model(): Promise<ModelCard> {
    return answered(this.#server.GET("/v1/model"));
  }

  /** Whether the server has read the log, and what is wrong. */
  readiness(): Promise<Readiness> {
    return answered(this.#server.GET("/readyz"), 503);
  }

  /** Whether the gateway can make events durable. */
  gatewayReadiness(): Promise<GatewayReadiness> {
    return answered(this.#gateway.GET("/readyz"), 503);
  }

  /**
   * Send interactions; look at `refused` of the receipt. Give a `key` of your own where the call itself may be
   * repeated, with the same events.
   */
  sendInteractions(events: Iterable<Interaction>, key = ""): Promise<Receipt> {
    return this.#send(events, key, (body, headers) =>
      this.#gateway.POST("/v1/interactions", { body, headers }),
    );
  }

  /** Send items and changes of items; look at `refused` of the receipt. */
  sendItems(events: Iterable<Item | ItemChange>): Promise<Receipt> {
    return this.#send(events, "", (body, headers) =>
      this.#gateway.POST("/v1/items", { body, headers }),
    );
  }

  /** Remove an item from the catalogue; one that is not there, too. */
  removeItem(item: string): Promise<Receipt> {
    return answered(this.#gateway.DELETE("/v1/items/{item}", { params: { path: { item } } }));
  }

  /** Send what business rules may know of users; look at `refused` of the receipt. */
  sendUsers(users: Iterable<User>): Promise<Receipt> {
    return this.#send(users, "", (body, headers) =>
      this.#gateway.POST("/v1/users", { body, headers }),
    );
  }

  /** Remove the attributes of a user; what the user did is kept. */
  removeUser(user: string): Promise<Receipt> {
    return answered(this.#gateway.DELETE("/v1/users/{user}", { params: { path: { user } } }));
  }

  /** Send events in batches, which `key` names, else a new one; number the refused ones through all of them. */
  async #send<Event>(
    events: Iterable<Event>,
    key: string,
    post: (body: Event[], headers: Record<string, string>) => Promise<Asked<Receipt>>,
  ): Promise<Receipt> {
    const total: Receipt = { accepted: 0, refused: [] };
    const name = inHeader(key || crypto.randomUUID());
    let [number, before] = [0, 0];
    for (const batch of divide(events, this.#batches)) {
      const asked = answered(post(batch, { "Idempotency-Key": `${name}-${number++}` }), 422);
      const receipt = await asked.catch((error: unknown) => {
        throw error instanceof ClientError ? Object.assign(error, { receipt: total }) : error;
      });
      total.accepted += receipt.accepted;
      total.refused.push(...receipt.refused.map((refused) => ({ ...refused, line: before + refused.line })));
      before += batch.length;
    }
    return total;
  }
}

/** The answer to a request; `errorRead` is the status of an error whose body is an answer, too. */
async function answered<T>(asking: Promise<Asked<T>>, errorRead?: number): Promise<T> {
  const { data, error, response } = await asking.catch((fault: unknown) => {
    throw fault instanceof SyntaxError ? new UnexpectedAnswer(NO_ANSWER, { cause: fault }) : fault;
  });
  if (isObject(data)) return data;
  if (response.ok) throw new UnexpectedAnswer(NO_ANSWER);
  if (response.status === errorRead && mediaType(response) === "application/json") return error as T;
  throw Problem.of(response, error);
}
