import json
import subprocess
import sys
from itertools import islice

import pytest
import typer
from typer.main import get_command

from faceloom.cli.files import target_files
from faceloom.cli.inputs import sources
from faceloom.cli.main import app
from faceloom.cli.seeds import parse_seeds
from faceloom.core.errors import UsageError
from faceloom.runtime.service import services


def faceloom(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "faceloom.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def commands(command: typer.core.TyperGroup, path: str = "") -> dict[str, typer.core.TyperCommand]:
    found: dict[str, typer.core.TyperCommand] = {}
    for name, sub in command.commands.items():
        full = f"{path}{name}"
        found |= commands(sub, f"{full} ") if hasattr(sub, "commands") else {full: sub}
    return found


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-3,7", [0, 1, 2, 3, 7]), ("5", [5]), ("18446744073709551615", [2**64 - 1])],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert list(parse_seeds(text)) == seeds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "--seeds is empty"),
        ("a", "--seeds a: give numbers and ranges, for example 0-63,100"),
        ("1-", "--seeds 1-: give numbers"),
        ("-3", "--seeds -3: give numbers"),
        ("1-b", "--seeds 1-b: give numbers"),
        ("1,,2", "--seeds 1,,2: give numbers"),
        ("5-3", "--seeds 5-3: 5-3 goes down"),
        ("0,9-7", "--seeds 0,9-7: 9-7 goes down"),
        ("18446744073709551616", "seeds go from 0 to 2^64 - 1"),
        ("0-18446744073709551616", "seeds go from 0 to 2^64 - 1"),
        ("9" * 5000, "seeds go from 0 to 2^64 - 1"),
        ("0-3,2", "--seeds 0-3,2: 2 is there twice"),
        ("7,7", "--seeds 7,7: 7 is there twice"),
    ],
)
def test_other_seeds_are_refused_for_what_is_wrong_with_them(text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_seeds(text)

    assert says in str(error.value)


def test_any_number_of_seeds_takes_no_memory() -> None:
    seeds = parse_seeds("5,0-3,10000000000-18446744073709551615")

    assert seeds.count == 5 + 2**64 - 10**10
    assert list(islice(seeds, 7)) == [5, 0, 1, 2, 3, 10**10, 10**10 + 1]


def test_two_files_with_one_result_are_refused(tmp_path) -> None:
    given = sources([tmp_path / "a" / "face.png", tmp_path / "b" / "face.jpg"])
    with pytest.raises(UsageError, match=r"as face\.png in"):
        target_files(given, tmp_path)


@pytest.mark.parametrize("name", sorted(commands(get_command(app))))
def test_every_command_has_an_example_in_its_help(name: str) -> None:
    text = commands(get_command(app))[name].help
    assert text is not None
    assert f"faceloom {name}" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "--out", "x"], "--candidates N or --accepted N"),
        (["build", "--out", "x", "--candidates", "0"], ": --candidates is 1 to"),
        (["build", "--out", "x", "--candidates", "5", "--psi", "nan"], ": --psi is 0 to 1.5"),
        (["jobs", "plan", "--nodes", "1", "--accepted", "0"], ": --accepted is 1 to 10000000"),
        (["jobs", "plan", "--nodes", "1"], "give either --candidates N or --accepted N"),
        (["demo", "--out", "x", "--candidates", "0"], ": --candidates is 1 to 10000000"),
        (["demo", "--out", "x", "--port-offset", "7"], ": --port-offset 7: give a multiple of 20"),
        (["classify", "a.png", "--port-offset", "7"], ": --port-offset 7: give a multiple of 20"),
        (["build", "--out", "x", "--candidates", "5", "--profile", "full"], "up --profile full"),
        (["report", "x", "--profile", "full"], "--engine inprocess"),
        (["sketch", "no-such-file.png", "--out", "x"], "No such file"),
        (["sketch", "pyproject.toml", "--out", "x"], "is a text file; give PNG, JPEG or WebP"),
        (["sketch", "x" * 300, "--out", "x"], "File name too long"),
        (["sketch", "a.png", "--out", "x" * 300], "No such file"),
        (["sketch", "*.gif", "--out", "x"], "no file matches *.gif"),
        (["sketch", "protos", "--out", "x"], "protos is a folder without PNG, JPEG or WebP files"),
        (["sketch", "-", "-", "--out", "x"], "give it once"),
        (["classify", "-", "--raw", "x", "--engine", "inprocess"], "a .npy file"),
        (["generate", "--seeds", "x", "--out", "x"], "0-63"),
        (["translate", "a.png"], "No such file"),
        (["translate", "pyproject.toml"], "is a text file; give PNG, JPEG or WebP"),
        (
            ["translate", "a.png", "--variants", "5"],
            "--style-seed",
        ),
        (
            ["translate", "a.png", "--style-seed", "-1"],
            "2^64 - 1",
        ),
        (["translate", "a.png", "--style-seed", "1", "--style-reference", "b.png"], "not both"),
        (["translate", "a.png", "--psi", "0.5"], "give --style-seed"),
        (["translate", "a.png", "--alpha", "0.5"], "give --style-seed or --style-reference"),
        (["models", "package", "--profile", "nothing"], "does not exist"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments: list[str], says: str) -> None:
    if arguments[0] == "translate":
        arguments = [*arguments, "--task", "sketch", "--out", "x"]
    done = faceloom(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_service_that_is_not_there_is_one_line_and_exit_code_1(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "faceloom.cli.main", "generate", "--seeds", "1", "--out", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "", "FACELOOM_TARGETS": json.dumps({"generator": "127.0.0.1:9"})},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("faceloom: the generator service does not answer")
    assert "faceloom up" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_dataset_has_faults(tmp_path) -> None:
    done = faceloom("verify", str(tmp_path), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["faults"]


def test_the_shipped_models_are_listed_and_intact() -> None:
    listed = json.loads(faceloom("models", "list", "--json").stdout)["models"]
    assert [(model["path"], model["service"]) for model in listed] == [
        (f"tiny/{service}", service) for service in services()
    ]
    assert faceloom("models", "verify").returncode == 0


CLIENTS = {"build", "report", "generate", "classify", "sketch", "segment", "translate", "studio"}


def test_every_command_that_calls_services_takes_their_options() -> None:
    taken = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands(get_command(app)).items()  # type: ignore[arg-type]
    }

    assert {name for name, options in taken.items() if "--wait" in options} == CLIENTS
    # The others start services, or look at one.
    others = {"up", "demo", "health", "serve-engine"}
    assert {
        name for name, options in taken.items() if "--port-offset" in options
    } == CLIENTS | others
