"""A real broker with TLS, mutual TLS, SASL/SCRAM and ACLs, and the logins that tests have there."""

from __future__ import annotations

from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.admin import ACLResourcePatternType as PatternType

from deploy.kafka.broker import Broker, Listener
from tests.support.certificates import Authority

USER, PASSWORD = "millstream", "correct-horse-battery"
STRANGER = "stranger"
"""A user whose password is right, and who has no rights."""
RULE = "RULE:^.*CN=([^,]*).*$/$1/,DEFAULT"
RIGHTS = {
    ResourceType.TOPIC: (
        *(ACLOperation.CREATE, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS),
        *(ACLOperation.READ, ACLOperation.WRITE),
    ),
    ResourceType.TRANSACTIONAL_ID: (ACLOperation.DESCRIBE, ACLOperation.WRITE),
    ResourceType.GROUP: (ACLOperation.DESCRIBE, ACLOperation.READ),
}
"""What docs/deployment.md says that a login needs, for all names with the prefix of the settings."""


class SecuredBroker:
    """The broker; its listeners are SCRAM, MUTUAL and EXPIRED.

    Attributes:
        broker: the process.
        authority: who signed its certificates.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "certificates")
        self.broker = Broker(
            folder / "kafka",
            quick_start=True,
            listeners=[
                Listener("SCRAM", "SASL_SSL", self._tls("broker") | _SCRAM),
                Listener("MUTUAL", "SSL", self._tls("mutual") | self._mutual()),
                Listener("EXPIRED", "SSL", self._tls("expired", days=-1)),
            ],
            users={USER: PASSWORD, STRANGER: PASSWORD},
        )

    def scram(self, **changes: str) -> dict[str, str]:
        """Return options for a login by password, with changes."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self.authority.file),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": USER,
            "sasl_plain_password": PASSWORD,
        } | changes

    def mutual(self, name: str = USER, password: str = "", days: int = 1) -> dict[str, str]:
        """Return options for a login by a certificate; see `Authority.issue`."""
        own = self.authority.issue(name, days=days, password=password)
        options = {
            "security_protocol": "SSL",
            "ssl_cafile": str(self.authority.file),
            "ssl_certfile": str(own),
            "ssl_keyfile": str(own),
        }
        return options | ({"ssl_password": password} if password else {})

    def grant(self, prefix: str, user: str, *leaving_out: tuple[ResourceType, ACLOperation]) -> None:
        """Give a user all rights that it needs for a prefix, but some."""
        rights = [
            ACL(
                f"User:{user}",
                "*",
                operation,
                ACLPermissionType.ALLOW,
                ResourcePattern(kind, prefix, PatternType.PREFIXED),
            )
            for kind, operations in RIGHTS.items()
            for operation in operations
            if (kind, operation) not in leaving_out
        ]
        admin = KafkaAdminClient(bootstrap_servers=self.broker.url.removeprefix("kafka://"))
        result = admin.create_acls(rights)
        admin.close()
        assert not result["failed"] and len(result["succeeded"]) == len(rights)

    def _tls(self, name: str, days: int = 1) -> dict[str, str]:
        file = self.authority.issue(name, days=days)
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(file)}

    def _mutual(self) -> dict[str, str]:
        return {
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "ssl.client.auth": "required",
            "ssl.principal.mapping.rules": RULE,
        }


_SCRAM = {
    "scram-sha-512.sasl.jaas.config": ("org.apache.kafka.common.security.scram.ScramLoginModule required;"),
}
