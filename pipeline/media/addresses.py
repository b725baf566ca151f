"""Which hosts and addresses may be asked: those that the settings allow, and none inside the network."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import MediaReason, MediaRefused

DEFAULT_PORTS = {"http": 80, "https": 443}
NAT64 = IPv6Network("64:ff9b::/96")
"""Its last 32 bits are an IPv4 address, to which a gateway passes on."""


class Endpoint(NamedTuple):
    """Where a URL leads."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""


def endpoint_of(url: str, hosts: Sequence[str]) -> Endpoint:
    """Return where a URL leads, if its host is allowed.

    Raises:
        MediaRefused: it is not, or the scheme is neither http nor https.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").encode("idna").decode().lower()
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise MediaRefused(MediaReason.HOST, "neither an http nor an https URL") from None
    if not is_allowed(host, port, hosts):
        raise MediaRefused(MediaReason.HOST, f"{host}:{port} is not among media.hosts")
    return Endpoint(parts.scheme, host, port, _target(parts))


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_allowed(host: str, port: int, hosts: Sequence[str]) -> bool:
    """Return whether a host may be asked at a port.

    >>> is_allowed("img.example.com", 443, [".example.com"]), is_allowed("example.com", 22, ["example.com"])
    (True, False)
    """
    return any(_allows(one, host, port) for one in hosts)


def _allows(rule: str, host: str, port: int) -> bool:
    name, _, number = rule.rpartition(":")
    if not name:
        name = rule
    ports = (int(number),) if name != rule else DEFAULT_PORTS.values()
    is_host = host.endswith(name) and host != name[1:] if name.startswith(".") else host == name
    return is_host and port in ports


def addresses_of(endpoint: Endpoint, private: bool) -> list[str]:
    """Resolve a host; the addresses are to be connected to as they are, because another time it has others.

    Raises:
        MediaRefused: it has none, or, unless `private`, one that is not public.
    """
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MediaRefused(MediaReason.UNREACHABLE, f"{endpoint.host} has no address: {error}") from None
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    for address in addresses:
        if not (private or is_public(address)):
            raise MediaRefused(
                MediaReason.ADDRESS, f"{endpoint.host} has the address {address}, which is not public"
            )
    return addresses


def is_public(address: str) -> bool:
    """Return whether an address is one of the public Internet, whatever it is wrapped in.

    >>> is_public("93.184.216.34"), is_public("::ffff:127.0.0.1"), is_public("169.254.169.254")
    (True, False, False)
    """
    found = ip_address(address.partition("%")[0])
    inner = _inside(found) if isinstance(found, IPv6Address) else None
    return found.is_global and not found.is_multicast and (inner is None or is_public(str(inner)))


def _inside(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which an IPv6 address leads."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1]) or None
