"""Commands for users: show what is known of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import typer

from pipeline.cli.terminal import console, log_of_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.state.catalogue import Catalogue
    from pipeline.state.histories import Act

app = typer.Typer()
users_app = typer.Typer(help="Show what is known of a user.", no_args_is_help=True)
app.add_typer(users_app, name="users")


@users_app.callback()
def users() -> None:
    """Show what is known of a user."""


@users_app.command("show")
def show_user(user: str) -> None:
    """Print a user's acts as JSON, oldest first: those of the published history, and those since then."""
    from pipeline.state.catalogue import read_catalogue
    from pipeline.state.user_history import read_user

    with log_of_settings() as (event_log, topics, _):
        found = read_user(event_log, topics, user)
        catalogue = read_catalogue(event_log, topics.items)
    if not found.published and not found.since:
        raise typer.BadParameter(f"nothing is known of a user {user!r}")
    shown = {
        "user": user,
        "published": [_act(act, catalogue) for act in found.published],
        "since": [_act(act, catalogue) for act in found.since],
    }
    console.print_json(orjson.dumps(shown).decode())


def _act(act: Act, catalogue: Catalogue) -> Mapping[str, object]:
    entry = catalogue.entries[catalogue.row(act.item)]
    return {**act._asdict(), "title": entry.title if entry else None}
