"""`faceloom studio` and `faceloom label` as people run them."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.commands import faceloom
from tests.contract.fronts import free_port
from tests.studio.process import running_studio

from faceloom import datasets
from faceloom.store.profile import model_store
from faceloom.studio.labels import Label, LabelStore


def test_it_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    database = tmp_path / "new" / "labels.db"
    metrics = free_port()
    with running_studio(tmp_path / "out", f"sqlite:///{database}", 0, metrics) as (process, url):
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as answer:
            assert b'faceloom_studio_labels_total{label="keep"} 0.0' in answer.read()
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0

    assert database.is_file()


@pytest.mark.parametrize("option", [("--port",), ("--port", "0", "--metrics-port")])
def test_a_port_that_is_taken(option: tuple[str, ...], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "faceloom.cli.main", "studio", *option, str(port)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.startswith(
        f"faceloom: cannot listen on 127.0.0.1:{port}: Address already in use by process {os.getpid()} ("
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]"), ("localhost", "localhost"), ("", "localhost")]
)
def test_hosts_that_people_give(host: str, shown: str, tmp_path: Path) -> None:
    labels = f"sqlite:///{tmp_path / 'labels.db'}"
    with running_studio(tmp_path / "out", labels, host=host) as (_, url):
        assert url.startswith(f"http://{shown}:")
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"


def test_a_host_that_nobody_knows(tmp_path: Path) -> None:
    labels = f"sqlite:///{tmp_path / 'labels.db'}"
    done = faceloom("studio", "--labels", labels, "--host", "no.invalid", store=model_store())

    assert done.code == 1
    assert done.err == (
        "faceloom: cannot listen on no.invalid:8600: no address is known for no.invalid; give"
        " localhost, or an address of this machine\n"
    )


def test_labels_in_no_database(tmp_path: Path) -> None:
    done = faceloom("studio", "--datasets", tmp_path, "--labels", "labels.db", store=model_store())

    assert done.code == 2
    assert done.err == (
        "faceloom: --labels, FACELOOM_LABELS: labels live in sqlite:///FILE or postgresql://USER@HOST/DATABASE\n"
    )


@pytest.fixture
def labelled(built: Path, tmp_path: Path) -> str:
    """Labels of that dataset: Ann kept two faces, on one of which Bob disagrees."""
    source = datasets.open(built).recipe.source.digest
    rows = [json.loads(line) for line in (built / "metadata.jsonl").read_text().splitlines()]
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    with LabelStore(url) as labels:
        for row in rows[:2]:
            labels.put(source, row["id"], "Ann", Label.KEEP)
        labels.put(source, rows[0]["id"], "Bob", Label.REJECT)
    return url


def test_who_labelled_what(built: Path, labelled: str) -> None:
    command = ("label", "status", "--dataset", built, "--labels", labelled)
    told = faceloom(*command, store=model_store())
    result = json.loads(faceloom(*command, "--json", store=model_store()).out)

    assert told.out == (
        "Ann: 2 keep, 0 reject\n"
        "Bob: 0 keep, 1 reject\n"
        "together: 1 keep, 0 reject, 1 tied\n"
        "two people agree on a face they both saw: 0.0%\n"
    )
    assert result == {
        "keep": 1,
        "reject": 0,
        "tied": 1,
        "people": {"Ann": {"keep": 2, "reject": 0}, "Bob": {"keep": 0, "reject": 1}},
        "agreement": 0.0,
    }


def test_labels_are_exported(built: Path, labelled: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "labels.jsonl"
    done = faceloom(
        *("label", "export", "--dataset", built, "--labels", labelled, "--out", out),
        store=model_store(),
    )
    second = json.loads((built / "metadata.jsonl").read_text().splitlines()[1])

    assert done.code == 0
    assert done.out.startswith("1 keep, 0 reject; 1 on which people are divided are left out\n")
    assert json.loads(out.read_text()) == {"id": second["id"], "label": "keep"}


def test_a_place_that_cannot_be_written(built: Path, labelled: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "labels.jsonl"
    command = ("label", "export", "--dataset", built, "--labels", labelled, "--out", out)
    done = faceloom(*command, store=model_store())

    assert done.code == 1
    assert done.err.startswith(f"faceloom: cannot write {out}: ")
    assert done.err.count("\n") == 1


def test_nothing_to_export(built: Path, tmp_path: Path) -> None:
    with LabelStore(f"sqlite:///{tmp_path / 'labels.db'}") as labels:
        labels.put("a" * 64, "one", "Ann", Label.KEEP)
    command = ("label", "export", "--labels", f"sqlite:///{tmp_path / 'labels.db'}")
    unlabelled = faceloom(*command, "--dataset", built, store=model_store())
    nowhere = faceloom(*command, "--dataset", tmp_path / "none", store=model_store())
    elsewhere = faceloom(*command, "--dataset", tmp_path, store=model_store())

    assert (unlabelled.code, nowhere.code, elsewhere.code) == (1, 2, 2)
    assert unlabelled.err.startswith("faceloom: nobody has labelled faces of ")
    assert elsewhere.err.startswith(f"faceloom: {tmp_path} is not a finished dataset; ")
    assert not os.path.exists("labels.jsonl")


@pytest.mark.parametrize("there", [False, True])
def test_labels_that_nobody_gave(there: bool, built: Path, tmp_path: Path) -> None:
    """Reading makes no database, and no table in one that is another's."""
    file = tmp_path / "none.db"
    if there:
        file.touch()
    command = ("label", "status", "--labels", f"sqlite:///{file}", "--dataset", built)
    done = faceloom(*command, store=model_store())

    assert done.code == 2
    assert done.err == (
        f"faceloom: --labels, FACELOOM_LABELS: there are no labels in sqlite:///{file};"
        " `faceloom studio` is the place\n"
    )
    assert file.exists() == there
    assert not there or not file.read_bytes()
