"""The certificate of a server, looked at before it is used: by the server at its start, and by the doctor."""

from __future__ import annotations

import ssl

from pipeline.config.http import HttpConfig
from pipeline.errors import InvalidSettings


def check_certificate(http: HttpConfig, table: str) -> None:
    """Load certificate and key, if there are any, as the server of a table of the settings would.

    Raises:
        InvalidSettings: they cannot be used; names the table and, after a semicolon, the remedy.
    """
    if http.certificate is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:  # with a password, because for that of a key that has one it would ask on the terminal
        context.load_cert_chain(http.certificate, http.private_key, password="none")
    except OSError as error:  # as SSLError is
        raise InvalidSettings(
            f"{table}.http: {http.certificate} cannot be used with {http.private_key or 'the key in it'}: "
            f"{error.strerror or error}; name files in PEM that this user may read and that belong together"
        ) from None
