"""Names of the settings that nothing in the log has: a typo there costs what the model was to know."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pipeline.config import ModelSizes
from pipeline.state.catalogue import Catalogue
from pipeline.state.profiles import Profiles, read_attributes
from pipeline.state.relations import values_of

LEAST, MOST = 100, 10_000
"""Items or users: of fewer, all may lack a name by chance; of more, the first are looked at."""


def unused_names(sizes: ModelSizes, catalogue: Catalogue, profiles: Profiles) -> Iterator[str]:
    """Yield each vector, attribute and relation of the settings that none of the first items or users has."""
    items = [entry for entry in islice(catalogue.entries, MOST) if entry is not None]
    if len(items) >= LEAST:
        for name in sizes.vectors:
            if not any(name in item.vectors for item in items):
                yield f"learn.sizes.vectors.{name}: none of {len(items):,} items has it"
        for key, names in (("attributes", sizes.attributes), ("relations", sizes.relations)):
            for name in names:
                if not any(values_of(item, name) for item in items):
                    yield f"learn.sizes.{key} names {name!r}: none of {len(items):,} items has it"
    users = [read_attributes(stored) for stored in islice(profiles.stored(), MOST)]
    if len(users) >= LEAST:
        for name in sizes.user_attributes:
            if not any(name in attributes for attributes in users):
                yield f"learn.sizes.user_attributes names {name!r}: none of {len(users):,} users has it"
