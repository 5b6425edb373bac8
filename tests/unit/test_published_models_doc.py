"""The commands that docs/published-models.md prints are ones that there are."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from faceloom.checkpoints.importer import formats
from faceloom.cli.main import app
from faceloom.cli.models import import_checkpoint
from faceloom.runtime.service import services

DOCS = Path(__file__).parents[2] / "docs"
KINDS = (*services(), "losses")


def printed(*names: str) -> list[str]:
    """The command lines in fenced blocks of these documents, that are about models from outside."""
    lines = [line for name in names for line in (DOCS / name).read_text().splitlines()]
    return [
        line for line in lines if line.startswith(("faceloom models", "faceloom train translator"))
    ]


COMMANDS = printed("published-models.md", "models.md")


def parsed(line: str) -> dict[str, Any]:
    """What the command line makes of it; it refuses what it does not know."""
    command: Any = get_command(app)
    _, *words = shlex.split(line)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options: dict[str, Any] = command.make_context(command.name, words).params
    return options


@pytest.mark.parametrize("line", COMMANDS)
def test_a_printed_command_parses(line: str) -> None:
    options = parsed(line)

    if line.startswith("faceloom models import"):
        assert options["form"] in formats(options["kind"])


def test_every_format_is_printed() -> None:
    imports = [parsed(line) for line in COMMANDS if line.startswith("faceloom models import")]

    assert {(each["kind"], each["form"]) for each in imports} == {
        (kind, form) for kind in KINDS for form in formats(kind)
    }


def test_what_is_misspelt_does_not_parse() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed("faceloom models import file.pt --kind generator --form nvlabs --name x")
    with pytest.raises(Exception, match="Missing parameter: name"):
        parsed("faceloom models import file.pt --kind generator --format nvlabs")


def test_help_and_the_table_of_layouts_name_every_format() -> None:
    told = str(import_checkpoint.__doc__)
    table = (DOCS / "published-models.md").read_text().split("## Layouts")[1].split("## ")[0]
    for kind in KINDS:
        assert f"[bold]{kind}[/bold]" in told
        for form in formats(kind):
            assert re.search(rf"[ (]{re.escape(form)}[ ,.]", re.sub(r"\s+", " ", told)), form
            assert f"`{form}`" in table, form
