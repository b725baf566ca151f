"""TLS to the brokers: its context, made of the options."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import InvalidSettings

T = TypeVar("T")


def is_secured(options: Mapping[str, object]) -> bool:
    """Return whether connections are by TLS."""
    return options.get("security_protocol") in {"SSL", "SASL_SSL"}


def context_of(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Make the context that the options describe; without `ssl_cafile` the system's CAs are trusted.

    Raises:
        InvalidSettings: a file is missing, unreadable or not what it should be; contains no secret.
    """
    authorities = options.get("ssl_cafile")
    context = _load("ssl_cafile", authorities, lambda: ssl.create_default_context(cafile=authorities))
    context.check_hostname = options.get("ssl_check_hostname", True)
    if revoked := options.get("ssl_crlfile"):
        _load("ssl_crlfile", revoked, lambda: context.load_verify_locations(revoked))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if ciphers := options.get("ssl_ciphers"):
        _load("ssl_ciphers", None, lambda: context.set_ciphers(ciphers))
    if own := options.get("ssl_certfile"):
        key, password = options.get("ssl_keyfile"), options.get("ssl_password") or ""
        _load("ssl_keyfile", key or own, lambda: None)
        _load("ssl_certfile", own, lambda: context.load_cert_chain(own, key, lambda: password))
    return context


def _load(option: str, path: str | None, load: Callable[[], T]) -> T:
    """Load what an option names, from a file if there is a path.

    Raises:
        InvalidSettings: it cannot be loaded.
    """
    try:
        if path:
            Path(path).open("rb").close()
        return load()
    except ssl.SSLError as error:
        fault = (error.reason or "not what it should be").lower().replace("_", " ")
        raise InvalidSettings(
            f"event log: {option} cannot be used: {fault}; name a file in PEM, and for a key its ssl_password"
        ) from None
    except OSError as error:
        raise InvalidSettings(
            f"event log: {option} names {path}, which cannot be read: {error.strerror}; let this user read it"
        ) from None
