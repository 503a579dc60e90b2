"""`videojam topics`: compare topics.yaml with the cluster, show the difference, apply it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    EXIT_ERROR,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    YesOption,
    confirm,
    effective_config,
    open_transport,
    stderr,
    stdout,
    with_examples,
)
from cli.topics_view import plan_as_json, print_change, print_plan, states_as_json, states_table
from cli.validate import validate
from dataflow.config import Config, declared_topics
from dataflow.errors import ConfigError
from dataflow.schema import topics_schema
from dataflow.topics import (
    apply_plan,
    count_records,
    delete_topics,
    make_plan,
    plan_deployment,
    select_for_deletion,
)
from dataflow.topics.plan import deployment_prefix

if TYPE_CHECKING:
    from dataflow.transport.base import Admin

EXIT_DIFFERS = 2
"""The cluster is not as topics.yaml declares."""

_ANSWER_SECONDS = 5.0
"""A person waits: a cluster that has not answered by then counts as away."""

AllowShrinkOption = Annotated[
    bool,
    typer.Option(
        "--allow-shrink",
        help="Also lower retention and record size, which deletes or refuses records.",
    ),
]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help=with_examples(
        "Compare topics.yaml with the cluster, show the difference, and apply it.",
        "videojam topics plan",
        "videojam topics apply",
        "videojam topics list --bootstrap-servers kafka-1:9092,kafka-2:9092",
    ),
)
app.command("validate")(validate)


@contextmanager
def _admin(config: Config) -> Iterator[Admin]:
    with open_transport(config) as transport:
        admin = transport.admin()
        try:
            admin.check(_ANSWER_SECONDS)
            yield admin
        finally:
            admin.close()


@app.command(
    help=with_examples(
        "Show what apply would change. Exit code 0: nothing; 2: the cluster differs from "
        "topics.yaml; 1: error.",
        "videojam topics plan",
        "videojam topics plan --json | jq '.changes[].topic'",
        "videojam topics plan -c city.yaml -b kafka:9092",
    )
)
def plan(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the difference."""
    settings = effective_config(config, bootstrap_servers)
    with _admin(settings) as admin:
        found = make_plan(settings, admin)
    if as_json:
        typer.echo(json.dumps(plan_as_json(found, settings), indent=2))
    else:
        print_plan(found, settings, stdout())
    if not found.in_sync:
        raise typer.Exit(EXIT_DIFFERS)


@app.command(
    help=with_examples(
        "Make the cluster follow topics.yaml, after showing the plan and asking. Never deletes a "
        "topic. Exit code 0: the cluster is as declared; 2: some differences were left; 1: error.",
        "videojam topics apply",
        "videojam topics apply --yes            in scripts",
        "videojam topics apply --allow-shrink   lower retention too: deletes old records",
    )
)
def apply(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    yes: YesOption = False,
    allow_shrink: AllowShrinkOption = False,
) -> None:
    """Create and change topics."""
    settings = effective_config(config, bootstrap_servers)
    console = stdout()
    with _admin(settings) as admin:
        found = make_plan(settings, admin)
        print_plan(found, settings, console, allow_shrink=allow_shrink)
        steps = found.steps(allow_shrink=allow_shrink)
        if steps:
            if not confirm(f"Make {_count(len(steps), 'change')}?", yes=yes, without="apply"):
                stderr().print("nothing was changed")
                raise typer.Exit(EXIT_ERROR)
            made = apply_plan(
                found,
                admin,
                allow_shrink=allow_shrink,
                on_step=lambda change, outcome: print_change(change, outcome, console),
            )
            console.print(f"{_count(made, 'change')} made", style="green")
    if len(steps) < len(found.steps(allow_shrink=True)) or found.refusals:
        raise typer.Exit(EXIT_DIFFERS)


@app.command(
    help=with_examples(
        "Delete topics with all they hold, after listing them and asking.",
        "videojam topics delete yolo            the topics of the function yolo",
        "videojam topics delete fixed mobile    the results of two pipelines",
        "videojam topics delete --all --yes     every declared topic of the deployment",
        "videojam topics delete --unmanaged     what topics.yaml no longer declares",
    )
)
def delete(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Functions or pipelines; functions.NAME or pipelines.NAME where both have it.",
        ),
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    all_declared: Annotated[
        bool, typer.Option("--all", help="All topics that topics.yaml declares.")
    ] = False,
    unmanaged: Annotated[
        bool,
        typer.Option(
            "--unmanaged",
            help="Topics with the deployment's prefix that topics.yaml does not declare.",
        ),
    ] = False,
    yes: YesOption = False,
) -> None:
    """Delete topics."""
    if not (names or all_declared or unmanaged):
        raise ConfigError(
            "nothing is named to delete",
            remedy="name functions or pipelines, or say --all or --unmanaged",
        )
    settings = effective_config(config, bootstrap_servers)
    console = stdout()
    with _admin(settings) as admin:
        states = admin.describe(deployment_prefix(settings))
        chosen = select_for_deletion(
            settings, states, names=names or (), all_declared=all_declared, unmanaged=unmanaged
        )
        if not chosen:
            console.print("there is nothing to delete")
            return
        for topic in chosen:
            records = count_records(settings, topic, admin)
            held = "unknown" if records is None else f"{records:,}"
            console.print(f"[bold red]-[/] {topic}  [dim]records: {held}[/]")
        question = f"Delete {_count(len(chosen), 'topic')} with all records?"
        if not confirm(question, yes=yes, without="delete"):
            stderr().print("nothing was deleted")
            raise typer.Exit(EXIT_ERROR)
        delete_topics(
            chosen, admin, on_deleted=lambda topic: console.print(f"deleted {topic}", markup=False)
        )


@app.command(
    "list",
    help=with_examples(
        "List the deployment's topics: declared, missing, different and unmanaged ones.",
        "videojam topics list",
        "videojam topics list --json",
    ),
)
def list_topics(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """List topics."""
    settings = effective_config(config, bootstrap_servers)
    with _admin(settings) as admin:
        states = admin.describe(deployment_prefix(settings))
    found = plan_deployment(settings, states)
    declared = declared_topics(settings)
    if as_json:
        typer.echo(json.dumps(states_as_json(declared, states, found), indent=2))
    else:
        stdout().print(states_table(declared, states, found))


@app.command(
    help=with_examples(
        "Print the JSON Schema of topics.yaml, with which editors complete and check it.",
        "videojam topics schema > topics.schema.json",
    )
)
def schema() -> None:
    """Print the schema."""
    typer.echo(json.dumps(topics_schema(), indent=2, ensure_ascii=False))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
