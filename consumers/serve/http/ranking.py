"""Routes for those who come from a service that ranks given actions and learns from rewards."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of nested functions.

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse

from consumers.serve.http.bodies import BODY_PROBLEMS, check_json
from consumers.serve.schemas import Ranking, RankingRequest, RewardedAct, RewardRequest
from consumers.serve.service import RecommendationService
from pipeline.config import Scope
from pipeline.events import Id
from pipeline.http.keyring import Keyring
from pipeline.http.operations import Responses, problems
from pipeline.http.parameters import check_parameters
from pipeline.http.problems import problem

AWAY_SECONDS = 5
"""What the header Retry-After says when the log is away."""
REWARD_PROBLEMS: Responses = problems(
    {
        404: "No answer with this id is remembered",
        409: "The answer has another reward already",
        422: "The item was not in the answer, or a field is invalid",
        503: "The event log is away; Retry-After says when to try again",
    }
)


def ranking_routes(service: RecommendationService, keyring: Keyring, responses: Responses) -> APIRouter:
    """Make the routes; to rank needs the scope to read, to reward that to send events."""
    routes = APIRouter(
        tags=["ranking"],
        dependencies=[Depends(check_parameters), Depends(check_json)],
        responses={**responses, **BODY_PROBLEMS},
    )

    @routes.post("/v1/rank", dependencies=keyring.guards(Scope.READ))
    def rank(body: RankingRequest) -> Ranking:
        """Rank the actions, which are items, for a user; the first is the one to show.

        The answer is written to the log as an impression, whose id is `event_id`.
        """
        return service.rank(body)

    @routes.post(
        "/v1/events/{event_id:id}/reward",
        status_code=202,
        dependencies=keyring.guards(Scope.INGEST),
        responses=REWARD_PROBLEMS,
    )
    def reward(event_id: Annotated[Id, Path()], body: RewardRequest) -> RewardedAct:
        """Take in what came of an answer; 202 once it is durable. Sent again, it counts once.

        A reward above zero is a click of the user, any other a skip, with the reward as its value.
        """
        return service.reward(event_id, body)

    return routes


def log_away(_: object, error: Exception) -> JSONResponse:
    """Answer a request whose reward could not be stored."""
    return problem(503, f"send the same request again: {error}", {"Retry-After": str(AWAY_SECONDS)})
