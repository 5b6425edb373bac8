"""The `faceloom` command: one module per group of commands, errors turned into one line here."""

import sys

import typer

from faceloom.cli import (
    build,
    demo,
    evaluate,
    generate,
    models,
    pictures,
    profile,
    serve,
    train,
    translate,
    up,
)
from faceloom.runtime.errors import FaceloomError, UsageError

app = typer.Typer(
    help="Build synthetic face datasets with model-serving microservices.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
up.register(app)
build.register(app)
demo.register(app)
generate.register(app)
pictures.register(app)
translate.register(app)
serve.register(app)
app.add_typer(models.app, name="models")
app.add_typer(profile.app, name="profile")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")


def run() -> None:
    """The console script. Exit code 0: done; 1: what was asked failed; 2: asked wrongly."""
    try:
        app()
    except UsageError as error:
        typer.echo(f"faceloom: {error}", err=True)
        sys.exit(2)
    except FaceloomError as error:
        typer.echo(f"faceloom: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
