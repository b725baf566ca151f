"""Commands for business rules: list, show, check, put, remove, and a dry run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from pipeline.cli.terminal import JsonOption, console, log_of_settings
from pipeline.wording import counted

if TYPE_CHECKING:
    from pipeline.rules.rule import Rule

app = typer.Typer()
rules_app = typer.Typer(help="List, show, check, put and remove business rules.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")
FileArgument = Annotated[Path, typer.Argument(help="TOML or JSON with a list `rules`.")]


@rules_app.command("list")
def list_rules() -> None:
    """List all rules by name."""
    from pipeline.reports.rules import rules_page

    console.print(rules_page(_all().values()), soft_wrap=True)


@rules_app.command("show")
def show_rule(name: str) -> None:
    """Print a rule as JSON."""
    console.print_json(_found(name).model_dump_json(exclude_defaults=True))


@rules_app.command("check")
def check_rules(file: FileArgument) -> None:
    """Read a file of rules, and name each fault; write nothing."""
    from pipeline.rules.files import read_rules

    console.print(f"{counted(len(read_rules(file)), 'rule')} read, no fault")


@rules_app.command("put")
def put_rules(file: FileArgument) -> None:
    """Add the rules of a file, or replace those of the same names; servers obey them at once."""
    from pipeline.rules.files import read_rules
    from pipeline.rules.store import RuleStore

    rules = read_rules(file)
    with log_of_settings() as (event_log, topics, _):
        RuleStore(event_log, topics.rules).put(rules)
    console.print(f"{counted(len(rules), 'rule')} added to {topics.rules}, or replaced there")


@rules_app.command("remove")
def remove_rule(name: str) -> None:
    """Remove a rule."""
    from pipeline.rules.store import RuleStore

    _found(name)
    with log_of_settings() as (event_log, topics, _):
        RuleStore(event_log, topics.rules).remove(name)
    console.print(f"{name} is removed", markup=False)


@rules_app.command("dry-run")
def dry_run_rules(
    file: FileArgument,
    answers: Annotated[int, typer.Option(min=1, help="How many of the latest requests to ask again.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Ask the latest requests again as if the rules of a file were in force, too; write nothing.

    Shows which items would enter, leave or move, and how often each rule would have a part.
    """
    from consumers.audit.dry_run import dry_run
    from pipeline.reports.rules import dry_run_page
    from pipeline.rules.files import read_rules
    from pipeline.rules.store import RuleStore

    rules = read_rules(file)
    with log_of_settings() as (event_log, topics, settings):
        in_force = RuleStore(event_log, topics.rules).all()
        found = dry_run(event_log, topics, settings, in_force, rules, answers)
    if as_json:
        console.print_json(orjson.dumps(found.to_json()).decode())
    else:
        console.print(dry_run_page(found), soft_wrap=True)


def _all() -> dict[str, Rule]:
    from pipeline.rules.store import RuleStore

    with log_of_settings() as (event_log, topics, _):
        return RuleStore(event_log, topics.rules).all()


def _found(name: str) -> Rule:
    from pipeline.event_fields import nearest

    rules = _all()
    if name not in rules:
        hint = f"; the nearest is {near!r}" if (near := nearest(name, rules)) else ""
        raise typer.BadParameter(f"there is no rule {name!r}{hint}")
    return rules[name]
