"""The HTTP face of the server: routes, validation, keys, problems; OpenAPI at /docs."""

# Annotations here must be evaluated where they stand, not later from strings: the bounds of
# parameters come from the settings, in names that only `create_app` knows.

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException as StarletteHTTPException

from consumers.serve.http.middleware import BodyLimit, RequestTimes, is_key, problem
from consumers.serve.ranking import RecommendationQuery
from consumers.serve.schemas import (
    MOST_EXCLUDED,
    AnonymousHistory,
    Health,
    ModelCard,
    Problem,
    Readiness,
    Recommendations,
)
from consumers.serve.service import NotReady, RecommendationService, UnknownItem
from pipeline import metrics
from pipeline.config import ServeConfig
from pipeline.events import Id

DESCRIPTION = """
Recommendations from a model that keeps learning from an event stream.

An answer follows a user's events within milliseconds of their append, and the learned
weights within seconds; it says which snapshot of the weights it used and what they lack.
"""
MOST_FAULTS = 5
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
Responses = dict[int | str, dict[str, Any]]
PROBLEMS: Responses = {
    401: {"model": Problem, "description": "No key, or a wrong one, in X-API-Key"},
    422: {"model": Problem, "description": "A parameter is out of bounds"},
    503: {"model": Problem, "description": "The server still reads the log"},
}
NOT_FOUND: Responses = {404: {"model": Problem, "description": "Nobody knows the item"}}
Session = Annotated[
    Id | None,
    Query(description="The user's session now; another than that of the last act begins a new basket."),
]


def create_app(service: RecommendationService, settings: ServeConfig) -> FastAPI:
    """The application; if there are API keys, only health, readiness and the documentation go without."""
    app = FastAPI(title="millstream", description=DESCRIPTION, version="1", redoc_url=None)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestTimes)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http_problem)
    app.add_exception_handler(NotReady, _not_ready)
    app.add_exception_handler(UnknownItem, _unknown_item)
    guarded = [Depends(_key_check(settings))] if settings.api_keys else []
    app.include_router(_open_routes(service))
    app.include_router(_v1(service, settings), dependencies=guarded, responses=PROBLEMS)
    app.add_api_route(
        "/metrics", _metrics, dependencies=guarded, tags=["operations"], response_class=Response
    )
    return app


def _v1(service: RecommendationService, settings: ServeConfig) -> APIRouter:
    routes = APIRouter(tags=["recommendations"])

    async def query(
        k: Annotated[
            int, Query(ge=1, le=settings.most_recommendations, description="How many items, at most.")
        ] = settings.recommendations,
        exclude: Annotated[
            Sequence[Id], Query(max_length=MOST_EXCLUDED, description="Items not to show; may be repeated.")
        ] = (),
        category: Annotated[
            str | None, Query(max_length=256, description="Show items of this category only.")
        ] = None,
        exclude_seen: Annotated[
            bool, Query(description="Leave out items of the history; a shop's customers do buy again.")
        ] = False,
    ) -> RecommendationQuery:
        return RecommendationQuery(k, frozenset(exclude), category, exclude_seen)

    @routes.get("/v1/users/{user:path}/recommendations")
    def recommendations_for_a_user(
        user: Annotated[Id, Path()],
        wanted: Annotated[RecommendationQuery, Depends(query)],
        session: Session = None,
    ) -> Recommendations:
        """What this user is most likely to act on next.

        Popular items, and says so, for a user nobody knows and before the first snapshot. What
        is shown is written to the log as an impression.
        """
        return service.for_user(user, session, wanted)

    @routes.post("/v1/recommendations")
    def recommendations_for_a_history(
        body: AnonymousHistory,
        wanted: Annotated[RecommendationQuery, Depends(query)],
        session: Session = None,
    ) -> Recommendations:
        """What somebody with this history is most likely to act on next; nothing of it is kept."""
        return service.for_history(body.history, session, wanted)

    @routes.get("/v1/items/{item:path}/similar", responses=NOT_FOUND)
    def similar_items(
        item: Annotated[Id, Path()], wanted: Annotated[RecommendationQuery, Depends(query)]
    ) -> Recommendations:
        """Items whose learned vectors, text included, are closest to an item's."""
        return service.similar_to(item, wanted)

    @routes.get("/v1/model", tags=["operations"])
    def model() -> ModelCard:
        """The snapshot that is served, how good it was when it was published, what was read since."""
        return service.model()

    return routes


def _open_routes(service: RecommendationService) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    @routes.get("/healthz")
    def health() -> Health:
        """The process answers."""
        return Health()

    @routes.get("/readyz", responses={503: {"model": Readiness}})
    def readiness(response: Response) -> Readiness:
        """200 when the log was read to its end once, else 503."""
        said = service.readiness()
        response.status_code = 200 if said.ready else 503
        return said

    return routes


def _metrics() -> Response:
    """All series of this process, for Prometheus."""
    return Response(metrics.exposition(), media_type=EXPOSITION)


def _key_check(settings: ServeConfig) -> Any:
    header = APIKeyHeader(name="X-API-Key", auto_error=False)

    async def check(key: Annotated[str | None, Depends(header)]) -> None:
        if not is_key(key, settings.api_keys):
            raise HTTPException(401, "send a valid key in the header X-API-Key")

    return check


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Name each field and what is wrong with it, never what it held."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return problem(422, "Unprocessable Content", "; ".join(faults[:MOST_FAULTS]))


def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    return problem(error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))


def _not_ready(_: Request, error: Exception) -> JSONResponse:
    return problem(503, "Service Unavailable", str(error))


def _unknown_item(_: Request, error: Exception) -> JSONResponse:
    return problem(404, "Not Found", str(error))
