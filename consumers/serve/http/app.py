"""The HTTP interface of the server: routes, validation, keys, problems; OpenAPI at /docs."""

# No `from __future__ import annotations` here: the bounds of parameters are local variables of
# `create_app`, so annotations must be evaluated in place.

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from consumers.serve.batching import Batches
from consumers.serve.http.bodies import BODY_PROBLEMS, check_json
from consumers.serve.http.middleware import BodyLimit
from consumers.serve.http.parameters import (
    Category,
    ContextPairs,
    Diversity,
    Exclude,
    ExcludeSeen,
    Explain,
    MostPerCategory,
    Recorded,
    Session,
    check_excluded,
    is_id,
    read_context,
    types_of,
)
from consumers.serve.http.ranking import log_away, ranking_routes
from consumers.serve.query import MS_PER_MINUTE, RecommendationQuery
from consumers.serve.rewards import NotShown, RewardCollision, UnknownImpression
from consumers.serve.schemas import (
    AnonymousHistory,
    ModelCard,
    PredictedRating,
    Readiness,
    Recommendations,
)
from consumers.serve.service import NoRatings, NotReady, RecommendationService, UnknownItem
from consumers.serve.user_request import UserRequest
from pipeline.config import Scope, ServeConfig
from pipeline.errors import DeliveryError, LogUnavailable, MillstreamError
from pipeline.events import Id
from pipeline.http.keyring import Keyring
from pipeline.http.middleware import NotKept, RequestTimes, Utf8Check
from pipeline.http.operations import NO_KEY, TOO_OFTEN, add_components, add_operations, operation_id, problems
from pipeline.http.parameters import check_parameters
from pipeline.http.paths import answer_with_slashes, register_ids
from pipeline.http.problems import answer_with_problems, problem
from pipeline.keys import HEADER

DESCRIPTION = """
Recommendations from a model that keeps learning from an event stream.

Answers reflect a user's events within milliseconds of their append, and new weights within
seconds. Each answer names the snapshot of the weights and how stale they are.
"""
PROBLEMS = problems(
    {
        401: NO_KEY,
        403: "The key does not have the scope `read`",
        422: "A parameter is unknown or out of bounds",
        429: TOO_OFTEN,
        503: "The server is still reading the log",
    }
)
NOT_FOUND = problems({404: "The item is unknown"})
NOT_RATED = problems({404: "The item is unknown, or no rating was learned yet"})

STATUSES: Mapping[type[MillstreamError], int] = {
    NotReady: 503,
    UnknownItem: 404,
    NoRatings: 404,
    UnknownImpression: 404,
    NotShown: 422,
    RewardCollision: 409,
}
"""Of the problems that errors of the service become."""


def create_app(service: RecommendationService, settings: ServeConfig) -> FastAPI:
    """Create the application; with API keys, only health, readiness and documentation need no key."""
    register_ids()
    app = FastAPI(
        title="millstream",
        description=DESCRIPTION,
        version="1",
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(Utf8Check)
    app.add_middleware(NotKept)
    app.add_middleware(RequestTimes)
    answer_with_problems(app)
    answer_with_slashes(app)
    for kind, status in STATUSES.items():
        app.add_exception_handler(kind, _answering(status))
    app.add_exception_handler(DeliveryError, log_away)
    app.add_exception_handler(LogUnavailable, log_away)
    keyring = Keyring(settings)
    guarded = keyring.guards(Scope.READ)
    app.include_router(_open_routes(service))
    answered = _answerer(service)
    for routes in (
        _user_routes(service, settings, answered, keyring),
        _history_routes(service, settings, answered),
        _item_routes(service, settings),
    ):
        app.include_router(routes, dependencies=guarded, responses=PROBLEMS)
    app.include_router(ranking_routes(service, keyring, PROBLEMS))
    add_operations(app, guarded, has_metrics=settings.workers == 1)
    add_components(app, {})
    return app


def _query_reader(
    service: RecommendationService, settings: ServeConfig
) -> Callable[..., Awaitable[RecommendationQuery]]:
    """Make the dependency that reads a query from the request's parameters; its bounds are settings."""
    default = RecommendationQuery.by_default(settings)

    async def read_query(
        k: Annotated[
            int, Query(ge=1, le=settings.most_recommendations, description="Maximum number of items.")
        ] = settings.recommendations,
        exclude: Exclude = (),
        category: Category = None,
        exclude_seen: ExcludeSeen = settings.exclude_seen,
        exclude_shown_minutes: Annotated[
            float,
            Query(
                ge=0,
                le=60 * settings.shown_hours,
                description="Leave out what the user was shown in the last so many minutes.",
            ),
        ] = settings.exclude_shown_minutes,
        diversity: Diversity = settings.diversity,
        most_per_category: MostPerCategory = settings.most_per_category,
        explain: Explain = False,
        record: Recorded = True,
        context: ContextPairs = (),
    ) -> RecommendationQuery:
        check_excluded(service.unknown(exclude))
        return replace(
            default,
            k=k,
            exclude=frozenset(exclude),
            category=category,
            exclude_seen=types_of(exclude_seen),
            exclude_shown_ms=int(exclude_shown_minutes * MS_PER_MINUTE),
            diversity=diversity,
            most_per_category=most_per_category,
            explain=explain,
            record=record,
            context=read_context(context),
        )

    return read_query


Answered = Callable[[UserRequest], Awaitable[Response]]


def _answerer(service: RecommendationService) -> Answered:
    """Make what answers a request for recommendations; those that wait at the same time share a pass."""
    batches = Batches(service.for_all)

    async def answered(request: UserRequest) -> Response:
        if request.query.explain:  # takes many passes, which nobody else should wait for
            (fields,) = await run_in_threadpool(service.for_all, [request])
        else:
            fields = await batches.ask(request)
        return Response(orjson.dumps(fields), media_type="application/json")

    return answered


def _user_routes(
    service: RecommendationService, settings: ServeConfig, answered: Answered, keyring: Keyring
) -> APIRouter:
    plain = _plain_route(RecommendationQuery.by_default(settings), answered, keyring)
    routes = APIRouter(tags=["recommendations"], dependencies=[Depends(check_parameters)], route_class=plain)
    read_query = _query_reader(service, settings)

    @routes.get("/v1/users/{user:id}/recommendations", response_model=Recommendations)
    async def recommendations_for_a_user(
        user: Annotated[Id, Path()],
        query: Annotated[RecommendationQuery, Depends(read_query)],
        session: Session = None,
    ) -> Response:
        """Recommend the items that this user is most likely to act on next.

        Returns popular items for an unknown user and before the first snapshot; `source` and
        `reason` say so. The answer is written to the log as an impression.
        """
        return await answered(UserRequest(user, session, query))

    return routes


def _plain_route(default: RecommendationQuery, answered: Answered, keyring: Keyring) -> type[APIRoute]:
    """Make the class of routes of users that read no parameters where a request has none, as most have none.

    FastAPI takes .1 ms of processor time to give eleven parameters their defaults.
    """

    class PlainRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            with_parameters = super().get_route_handler()

            async def handle(request: Request) -> Response:
                user = request.path_params["user"]
                if request.scope["query_string"] or not is_id(user):
                    return await with_parameters(request)
                keyring.check(request.headers.get(HEADER), Scope.READ)
                return await answered(UserRequest(user, None, default))

            return handle

    return PlainRoute


def _history_routes(service: RecommendationService, settings: ServeConfig, answered: Answered) -> APIRouter:
    routes = APIRouter(tags=["recommendations"], dependencies=[Depends(check_parameters)])
    read_query = _query_reader(service, settings)

    @routes.post(
        "/v1/recommendations",
        dependencies=[Depends(check_json)],
        responses=BODY_PROBLEMS,
        response_model=Recommendations,
    )
    async def recommendations_for_a_history(
        body: AnonymousHistory,
        query: Annotated[RecommendationQuery, Depends(read_query)],
        session: Session = None,
    ) -> Response:
        """Recommend the items that a user with this history is most likely to act on next.

        The history is not stored.
        """
        return await answered(UserRequest(None, session, query, body.history, attributes=body.attributes))

    return routes


def _item_routes(service: RecommendationService, settings: ServeConfig) -> APIRouter:
    routes = APIRouter(tags=["recommendations"], dependencies=[Depends(check_parameters)])
    read_query = _query_reader(service, settings)

    @routes.get("/v1/items/{item:id}/similar", responses=NOT_FOUND)
    def similar_items(
        item: Annotated[Id, Path()], query: Annotated[RecommendationQuery, Depends(read_query)]
    ) -> Recommendations:
        """List the items whose learned vectors, text included, are closest to this item's."""
        return service.similar_to(item, query)

    @routes.get("/v1/users/{user:id}/ratings/{item:id}", responses=NOT_RATED)
    def rating(user: Annotated[Id, Path()], item: Annotated[Id, Path()]) -> PredictedRating:
        """Predict the rating that this user would give an item, from ratings of others and their own.

        For a user who has rated nothing, it is what everyone gives.
        """
        return service.rating_of(user, item)

    @routes.get("/v1/model", tags=["operations"])
    def model() -> ModelCard:
        """Describe the served snapshot, its quality when published, and the records read since."""
        return service.model()

    return routes


def _open_routes(service: RecommendationService) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    @routes.head("/readyz", include_in_schema=False)
    @routes.get("/readyz", responses={503: {"model": Readiness}})
    def readiness(response: Response) -> Readiness:
        """Return 200 once the log was read to its end, and 503 before."""
        found = service.readiness()
        response.status_code = 200 if found.ready else 503
        return found

    return routes


def _answering(status: int) -> Callable[[Request, Exception], JSONResponse]:
    """Make what answers an error with a problem of this status."""
    return lambda _, error: problem(status, str(error))
