"""Settings of the server, of players and of metrics."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.access import Guarded
from pipeline.config.base import Config, Count, NamedPathOrNone, Port, Seconds, Share, Text
from pipeline.config.http import HttpConfig
from pipeline.config.urls import no_login
from pipeline.events import InteractionType

MOST_WORKERS = 64


class ServeConfig(Guarded):
    """[serve] How the server answers."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8000
    """Port to listen on."""
    http: HttpConfig = HttpConfig()
    """TLS, proxies, and how the server leaves."""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    """Processes that answer at the port; each follows the log by itself, and limits keys by itself. More than
    one need a port, and their metrics are at `metrics.serve`."""
    recommendations: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Items in an answer, unless a request says how many."""
    most_recommendations: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Items that a request may ask for, at most."""
    poll_seconds: Seconds = 0.1
    """How long the follower waits for new records."""
    exclude_seen: Annotated[tuple[InteractionType, ...], Field(max_length=len(InteractionType))] = ()
    """An answer leaves out what the user ever acted on in these ways, unless its request says otherwise; most
    customers buy again."""
    hide_disliked_days: Annotated[float, Field(ge=0, le=3_660)] = 365
    """For how long a dislike removes its item from its user's answers, unless the user wants it after all (by
    a cart, purchase or like). 0 only lowers the item. A dislike that has left the history lasts for ever."""
    exclude_shown_minutes: Annotated[float, Field(ge=0, le=60 * 24 * 31)] = 0
    """An answer leaves out what its user was shown in the last so many minutes, unless its request says
    otherwise. Needs `impressions`."""
    shown_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24
    """For how long servers remember what they and other servers have shown: the most that a request may leave
    out, and how far back a server reads when it starts."""
    owner_attribute: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    """Attribute of items that names their owner, or a list of owners: they are not recommended what they
    sell or wrote."""
    diversity: Share = 0.0
    """How much an answer avoids items that are near each other, unless its request says otherwise: 0 ranks by
    score alone, 1 by distance alone after the first item."""
    most_per_category: Annotated[int | None, Field(ge=1, le=10_000)] = None
    """Items of one category in an answer, at most, unless its request says otherwise."""
    precision: Literal["float32", "int8"] = "float32"
    """Precision of the user tower's products with frozen weights. `int8` takes less time and changes few
    items of an answer; what is learned stays in float32."""
    runtime: Literal["torch", "onnx"] = "torch"
    """What computes the user tower. `onnx` is onnxruntime (`pip install 'millstream[onnx]'`): it takes less
    time for a request by itself. Torch computes all else in either case. In float32 alone."""
    impressions: bool = True
    """Whether what was shown is written to the impressions topic."""

    @model_validator(mode="after")
    def _asks_for_no_more_than_is_allowed(self) -> Self:
        if self.recommendations > self.most_recommendations:
            raise ValueError("recommendations is more than most_recommendations: raise the latter")
        if self.exclude_shown_minutes and not self.impressions:
            raise ValueError("exclude_shown_minutes needs impressions = true")
        return self

    @model_validator(mode="after")
    def _computes_in_one_way(self) -> Self:
        if self.runtime == "onnx" and self.precision == "int8":
            raise ValueError('runtime = "onnx" computes in float32: leave out precision, or take "torch"')
        return self

    @model_validator(mode="after")
    def _can_share_its_port(self) -> Self:
        if self.workers > 1 and not self.port:
            raise ValueError("several workers need a port that is not 0")
        return self

    @model_validator(mode="after")
    def _remembers_long_enough(self) -> Self:
        if self.exclude_shown_minutes > 60 * self.shown_hours:
            raise ValueError("exclude_shown_minutes is longer than shown_hours: raise the latter")
        return self


class PlayConfig(Config):
    """[play] How recorded data enters the log."""

    max_in_flight: Count = 20_000
    """Records that the log has not acknowledged yet, at most."""


DaemonName = Annotated[str, Field(pattern=r"^(learn|serve|retrain|media|gateway|bridge)$")]
MetricsUrl = Annotated[
    str,
    Field(pattern=r"^https?://[^\s]+$", max_length=1_000),
    no_login("give a key of the daemon's settings"),
]


class MetricsConfig(Config):
    """[metrics] Where daemons answer Prometheus; a server of one process answers at its own address."""

    host: Text = "127.0.0.1"
    """Address of learn, retrain, media, play and the workers of serve."""
    learn: Port = 9101
    """Port of `millstream learn`; 0 for none."""
    retrain: Port = 9103
    """Port of `millstream retrain`; 0 for none."""
    media: Port = 9104
    """Port of `millstream media`; 0 for none."""
    serve: Annotated[int, Field(ge=0, le=65_536 - MOST_WORKERS)] = 9110
    """Port of the first worker of `millstream serve`, if `serve.workers` is more than 1; the next ones have
    the next ports. Not 0 then."""
    play: Port = 0
    """Port of `millstream play` and `millstream simulate`; 0 for none."""
    urls: Annotated[dict[DaemonName, MetricsUrl], Field(max_length=6)] = {}
    """Where `millstream status` and the console read the metrics of daemons on other machines, by daemon,
    such as `learn = "http://learn:9101/metrics"`."""
    authority: NamedPathOrNone = None
    """File in PEM with the CA of the certificates that `millstream status` and the console meet at daemons
    and at `console.server`, if this machine does not trust it anyway."""
    group: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """Attribute of items, or `category`, by whose values shares of what is shown are compared with shares of
    what users act on; see `millstream_group_share`."""
