/** Names for what is sent and answered; all of it is generated from the OpenAPI documents. */

import type { components as OfGateway } from "./generated/gateway.js";
import type { components as OfServer, paths } from "./generated/server.js";

type Query<Operation extends { parameters: { query?: unknown } }> = NonNullable<
  Operation["parameters"]["query"]
>;

export type SessionQuery = Query<paths["/v1/users/{user}/recommendations"]["get"]>;
export type AnswerQuery = Query<paths["/v1/items/{item}/similar"]["get"]>;
export type AnonymousAct = OfServer["schemas"]["AnonymousAct"];
export type Attributes = NonNullable<OfServer["schemas"]["AnonymousHistory"]["attributes"]>;
export type AppliedRule = OfServer["schemas"]["AppliedRule"];
export type ModelCard = OfServer["schemas"]["ModelCard"];
export type PredictedRating = OfServer["schemas"]["PredictedRating"];
export type Ranking = OfServer["schemas"]["Ranking"];
export type RankingRequest = OfServer["schemas"]["RankingRequest"];
export type RewardedAct = OfServer["schemas"]["RewardedAct"];
export type RewardRequest = OfServer["schemas"]["RewardRequest"];
export type Readiness = OfServer["schemas"]["Readiness"];
export type Recommendations = OfServer["schemas"]["Recommendations"];
export type ShownItem = OfServer["schemas"]["ShownItem"];

export type GatewayReadiness = OfGateway["schemas"]["GatewayReadiness"];
export type Interaction = OfGateway["schemas"]["Interaction"];
export type Item = OfGateway["schemas"]["Item"];
export type ItemChange = OfGateway["schemas"]["ItemChange"];
export type User = OfGateway["schemas"]["User"];
export type Receipt = OfGateway["schemas"]["Receipt"];
export type RefusedLine = OfGateway["schemas"]["RefusedLine"];
