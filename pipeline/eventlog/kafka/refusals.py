"""What a cluster refuses, in words: a login, a right; each with the setting and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import errors as kafka_errors

from pipeline.errors import LogRefused, LogUnavailable

WRONG_LOGIN = (
    "the cluster refuses the login; check sasl_plain_username and sasl_plain_password of `log.options`, and "
    "that the cluster knows this user by this mechanism"
)
UNBOOTED = "is it up, and does it want a login or TLS that `log.options` does not have?"
"""A broker that wants TLS or a login closes a connection without them, and says nothing."""


def translated(what: str, error: Exception) -> LogUnavailable:
    """Translate an error of the client; `what` was asked for.

    Returns:
        LogRefused where waiting does not help, else LogUnavailable.
    """
    for one in _causes(error):
        if isinstance(one, kafka_errors.SaslAuthenticationFailedError):
            return LogRefused(f"{what}: {WRONG_LOGIN}")
        # The client makes a text of some: "Unexpected error in …: ClusterAuthorizationFailedError".
        if isinstance(one, kafka_errors.AuthorizationError) or "AuthorizationFailed" in str(one):
            return LogRefused(
                f"{what}: this login has no right to {_object_of(one)}; let an administrator add it with "
                "kafka-acls.sh, or set another login in `log.options`; docs/deployment.md lists all rights"
            )
    return LogUnavailable(f"{what}: {error}")


def unreachable(connection: Mapping[str, Any], error: Exception) -> LogUnavailable:
    """Translate an error of a client that could not connect."""
    where = ", ".join(connection["bootstrap_servers"])
    if isinstance(error, kafka_errors.KafkaTimeoutError):
        return LogUnavailable(f"{where}: no broker answers; {UNBOOTED}")
    return translated(where, error)


def _causes(error: Exception) -> list[Exception]:
    """List an error and those in its arguments, where the client may wrap them."""
    return [error, *(one for one in error.args if isinstance(one, Exception))]


def _object_of(error: Exception) -> str:
    """Name what the right is missing for, as far as the broker says."""
    if isinstance(error, kafka_errors.TopicAuthorizationFailedError):
        names = error.args[0] if error.args else ()
        return f"use the topic {', '.join(sorted(names))}" if isinstance(names, set) else "use the topic"
    if isinstance(error, kafka_errors.GroupAuthorizationFailedError):
        return "use the consumer group"
    if isinstance(error, kafka_errors.TransactionalIdAuthorizationFailedError):
        return "use the transactional id"
    return "write to a topic of the cluster"
