"""Certificates of a CA that is made for one test run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """A CA in a folder.

    Attributes:
        file: its certificate.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._ca = folder, trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, host: str = "127.0.0.1", days: int = 1, password: str = "") -> Path:
        """Issue a certificate; return the file that holds it and its key, in the form that Java reads, too.

        Args:
            name: its common name, and that of the file.
            host: whom it is for.
            days: how long it is valid, from now; it has expired if that is negative.
            password: encrypts the key.
        """
        issued = self._ca.issue_cert(
            host, common_name=name, not_after=datetime.now(UTC) + timedelta(days=days)
        )
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        encryption: KeySerializationEncryption = (
            BestAvailableEncryption(password.encode()) if password else NoEncryption()
        )
        file = self._folder / f"{name}.pem"
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption) + chain)
        return file
