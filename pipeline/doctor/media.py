"""The media daemon: whether it could start, and whether the model reads what it would make."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config import EncoderName, Settings
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.errors import InvalidSettings
from pipeline.media.encoders import spec_of


def check(settings: Settings) -> Iterator[Finding]:
    """Check encoders and hosts; nothing without both, for then nobody runs the daemon."""
    config = settings.media
    if config.hosts and not config.encoders:
        yield fault("media", "hosts are named, but no medium has an encoder", "set `media.encoders`")
    if config.encoders and not config.hosts:
        yield fault("media", "media have encoders, but no host may be asked", "set `media.hosts`")
    for medium, name in config.encoders.items():
        yield _encoder(medium, name, settings)


def _encoder(medium: str, name: EncoderName, settings: Settings) -> Finding:
    try:
        spec = spec_of(name, download=False)
        spec.check()
    except InvalidSettings as error:
        text, _, remedy = str(error).partition(": ")
        return fault("media", f"{medium}: {text}", remedy or "install the package again")
    read = settings.learn.sizes.vectors.get(medium)
    if read == spec.width:
        return ok("media", f"{medium} is encoded by {name}, and the model reads it")
    found = f"reads {read} numbers of it" if read else "does not read it"
    text = f"{medium} is encoded by {name} to {spec.width} numbers, but the model {found}"
    return warning("media", text, f"set `learn.sizes.vectors.{medium} = {spec.width}`")
