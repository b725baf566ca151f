"""The bridge over HTTP: whether it is ready, and its metrics."""

# No `from __future__ import annotations` here: FastAPI must evaluate the annotations of nested functions.

from collections.abc import Callable

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import Guarded, Scope
from pipeline.http.keyring import Keyring
from pipeline.http.operations import add_operations
from pipeline.http.paths import answer_with_slashes
from pipeline.http.problems import answer_with_problems


class BridgeReadiness(BaseModel):
    """Whether records of the source become events now."""

    model_config = ConfigDict(frozen=True)

    ready: bool = Field(description="false while a log is away, or after too much was refused.")


def create_app(is_ready: Callable[[], bool], guarded: Guarded) -> FastAPI:
    """Create the application; with API keys, the metrics need one."""
    app = FastAPI(title="millstream bridge", version="1", redoc_url=None)
    answer_with_problems(app)
    answer_with_slashes(app)

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["operations"], responses={503: {"model": BridgeReadiness}})
    async def readiness(response: Response) -> BridgeReadiness:
        """Return 200 while records become events, and 503 while a log is away or too much is refused."""
        found = BridgeReadiness(ready=is_ready())
        response.status_code = 200 if found.ready else 503
        return found

    add_operations(app, Keyring(guarded).guards(Scope.READ))
    return app
