"""Business rules over HTTP, for those who administer them."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of nested functions.

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import Scope
from pipeline.errors import InvalidEvent, InvalidSettings
from pipeline.events import MAX_WIRE_BYTES, parse
from pipeline.http.keyring import Keyring
from pipeline.http.operations import problems
from pipeline.http.parameters import check_parameters
from pipeline.rules.rule import KINDS, AnyRule, RuleKind, RuleName, build_rule
from pipeline.rules.store import RuleStore
from producers.gateway.bodies import read_body
from producers.gateway.openapi import REFERENCE

ALWAYS = problems(
    {
        401: "The header X-API-Key is missing or wrong",
        403: "The key does not have the scope `read`, or `admin` to write",
        429: "Too many requests come with this key; Retry-After says when to try again",
        503: "The event log is away; Retry-After says when to try again",
    }
)
BODY_PROBLEMS = problems(
    {
        400: "The body ended too early",
        408: "The body took too long to arrive",
        409: "There would be too many rules",
        413: "The body is too large",
        415: "The body is compressed",
        422: "The rule is invalid, or there is no such query parameter",
    }
)
INVALID_NAME = "The name is out of bounds, or there is no such query parameter"
Name = Annotated[RuleName, Path()]


def _body() -> dict[str, Any]:
    """Describe the body of a request that writes a rule; its parts are those of `ListedRules`."""
    schema = {"anyOf": [_nameless(kind) for kind in KINDS.values()]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _nameless(kind: RuleKind) -> dict[str, Any]:
    schema = kind.model_json_schema(ref_template=REFERENCE)
    del schema["$defs"], schema["properties"]["name"]
    return {**schema, "required": [field for field in schema["required"] if field != "name"]}


class ListedRules(BaseModel):
    """All rules by name."""

    model_config = ConfigDict(frozen=True)

    rules: list[AnyRule] = Field(description="Those that are switched off, too.")


def rule_routes(store: RuleStore, keyring: Keyring) -> APIRouter:
    """Make the routes that read rules, and those that write them, which need the scope `admin`."""
    routes = APIRouter(tags=["rules"], dependencies=[Depends(check_parameters)], responses=ALWAYS)
    routes.include_router(_reading(store), dependencies=keyring.guards(Scope.READ))
    routes.include_router(_writing(store), dependencies=keyring.guards(Scope.ADMIN))
    return routes


def _reading(store: RuleStore) -> APIRouter:
    routes = APIRouter()

    @routes.get(
        "/v1/rules",
        response_model_exclude_defaults=True,
        responses=problems({422: "There is no such query parameter"}),
    )
    def list_rules() -> ListedRules:
        """List all rules."""
        return ListedRules(rules=[*store.all().values()])

    @routes.get(
        "/v1/rules/{name:id}",
        response_model=AnyRule,
        response_model_exclude_defaults=True,
        responses=problems({404: "There is no such rule", 422: INVALID_NAME}),
    )
    def show_rule(name: Name) -> AnyRule:
        """Return a rule."""
        rule = store.all().get(name)
        if rule is None:
            raise HTTPException(404, "there is no rule of this name")
        return rule

    return routes


def _writing(store: RuleStore) -> APIRouter:
    routes = APIRouter()

    @routes.put(
        "/v1/rules/{name:id}",
        status_code=204,
        responses=BODY_PROBLEMS,
        openapi_extra=_body(),
    )
    async def put_rule(name: Name, request: Request) -> Response:
        """Add a rule, or replace the one of this name; it is durable when this answers."""
        body = await read_body(request, MAX_WIRE_BYTES)
        try:
            fields = {"name": name, **parse(body)}
            if fields["name"] != name:
                raise HTTPException(422, "name: must be the one of the path, or left out")
            await run_in_threadpool(store.put, [build_rule(fields)])
        except InvalidEvent as error:
            raise HTTPException(422, str(error)) from None
        except InvalidSettings as error:
            raise HTTPException(409, str(error)) from None
        return Response(status_code=204)

    @routes.delete("/v1/rules/{name:id}", status_code=204, responses=problems({422: INVALID_NAME}))
    def delete_rule(name: Name) -> Response:
        """Remove a rule; one that is not there, too."""
        store.remove(name)
        return Response(status_code=204)

    return routes
