"""Commands for users: load, list, search, show, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import (
    MappingOption,
    ReasonOption,
    console,
    folded,
    log_of_settings,
    print_drop_lines,
)
from pipeline.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.state.catalogue import Catalogue
    from pipeline.state.histories import Act

app = typer.Typer()
users_app = typer.Typer(help="Load, list, search, show and remove users.", no_args_is_help=True)
app.add_typer(users_app, name="users")


@users_app.command("load")
def load_users(
    file: Annotated[str, typer.Argument(help="A file, a folder, or a URL of one.")],
    mapping: MappingOption = None,
) -> None:
    """Append the users of a file, with their attributes, to the log, after every line was checked.

    Without --mapping, FILE is JSONL whose lines are users, as in docs/events.md.
    """
    from pipeline.datasets.mapping import load_mapping
    from pipeline.datasets.remote import local
    from pipeline.datasets.users_file import UsersFile
    from pipeline.wording import counted

    users = UsersFile(local(file), load_mapping(mapping) if mapping else None, now_ms())
    records = list(users.records())
    with log_of_settings() as (event_log, topics, _), event_log.writer() as writer:
        for user, wire in records:
            writer.append(topics.users, user, wire)
        writer.flush()
    print_drop_lines(users.drops, len(records), "a user")
    console.print(f"{counted(len(records), 'user')} added to {topics.users}, or replaced there")


@users_app.command("search")
def search_users(
    words: Annotated[list[str], typer.Argument(help="Words; id and attributes of a user have all of them.")],
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
) -> None:
    """List the users whose id and attributes have all words, in any order and case."""
    from pipeline.eventlog.port import read_compacted
    from pipeline.reports.layout import table
    from pipeline.wording import counted

    with log_of_settings() as (event_log, topics, _):
        known = read_compacted(event_log, topics.users)
    wanted = [folded(word) for word in words]
    texts = {user: (record.value or b"").decode(errors="replace") for user, record in sorted(known.items())}
    found = [user for user, text in texts.items() if all(word in folded(text) for word in wanted)]
    rows = [(user, texts[user]) for user in found[:limit]]
    console.print(
        table(counted(len(found), "user"), ("user", "record"), rows, whole=("user",)), soft_wrap=True
    )


@users_app.command("list")
def list_users(
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
) -> None:
    """Count the users who have a history or attributes, and list them by id, which may name people."""
    from pipeline.eventlog.port import read_compacted
    from pipeline.reports.layout import table
    from pipeline.wording import counted

    with log_of_settings() as (event_log, topics, _):
        acted, known = (set(read_compacted(event_log, topic)) for topic in (topics.histories, topics.users))
    users = sorted(acted | known)
    rows = [(user, *("yes" if user in found else "" for found in (acted, known))) for user in users[:limit]]
    shown = f", the first {limit:,}" if len(users) > limit else ""
    page = table(
        f"{counted(len(users), 'user')}{shown}", ("user", "history", "attributes"), rows, whole=("user",)
    )
    console.print(page, soft_wrap=True)


@users_app.command("show")
def show_user(user: str) -> None:
    """Print a user's attributes and acts as JSON: those of the published history, and those since then."""
    from pipeline.state.catalogue import read_catalogue
    from pipeline.state.user_history import read_user

    with log_of_settings() as (event_log, topics, _):
        found = read_user(event_log, topics, user)
        catalogue = read_catalogue(event_log, topics.items)
    if not (found.published or found.since or found.attributes):
        raise typer.BadParameter(f"nothing is known of a user {user!r}")
    shown = {
        "user": user,
        "attributes": found.attributes,
        "published": [_act(act, catalogue) for act in found.published],
        "since": [_act(act, catalogue) for act in found.since],
    }
    console.print_json(orjson.dumps(shown).decode())


@users_app.command("remove")
def remove_user(
    user: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: ReasonOption = "by hand",
) -> None:
    """Remove a user's attributes and published history; the topic of interactions keeps the acts.

    Servers forget the history at their next start, until the user acts again.
    """
    from pipeline.control.actions import Removal, pseudonym
    from pipeline.state.user_history import can_be_removed

    with log_of_settings() as (event_log, topics, settings):
        if not can_be_removed(event_log, topics, user):
            raise typer.BadParameter(f"a user {user!r} has no attributes and no published history to remove")
        if not yes:
            typer.confirm(f"Remove the attributes and the history of {user}?", abort=True)
        subject = pseudonym(user, settings.console.secret)
        removal = Removal(subject=subject, reason=reason, removed_at=now_ms())
        with event_log.writer() as writer:
            writer.append(topics.control, removal.key, removal.encode())
            for topic in (topics.users, topics.histories):
                writer.append(topic, user, None)
            writer.flush()
    console.print(f"{user} is removed, until the next act: then the history comes back", markup=False)


def _act(act: Act, catalogue: Catalogue) -> Mapping[str, object]:
    entry = catalogue.entries[catalogue.row(act.item)]
    return {**act._asdict(), "title": entry.title if entry else None}
