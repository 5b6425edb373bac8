"""`faceloom build` with stages and filters, and `faceloom dataset select`, with the tiny models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.commands import Done, faceloom

STORE = Path("model_store")
INPROCESS = ("--engine", "inprocess", "--json")


def run(*arguments: object) -> Done:
    return faceloom(*arguments, store=STORE)


def made(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, *INPROCESS)
    assert (done.code, done.err) == (0, "")
    return dict(json.loads(done.out))


def lines(output: Path, name: str = "metadata.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("pool") / "faces"
    made("build", "--candidates", 130, "--top", 0, "--out", output)
    return output


def test_a_pool_of_scores_becomes_many_datasets(pool: Path, tmp_path: Path) -> None:
    judged = lines(pool, "rejected.jsonl")
    assert len(judged) == 130
    best = made(
        "dataset", "select", pool, "--top", 9, "--stages", "none", "--out", tmp_path / "best"
    )
    strict = made(
        "dataset", "select", pool, "--threshold", 0.8, "--stages", "sketch,sketch:classical",
        "--out", tmp_path / "strict",
    )  # fmt: skip

    ranked = sorted(judged, key=lambda row: -row["quality"])
    kept = {row["id"] for row in ranked[:9]}
    assert {row["id"] for row in lines(tmp_path / "best")} == kept
    assert best["accepted"] == 9
    above = {row["id"] for row in judged if row["quality"] >= 0.8}
    assert {row["id"] for row in lines(tmp_path / "strict")} == above
    assert strict["accepted"] == len(above)
    built = made(
        "build", "--candidates", 130, "--threshold", 0.8, "--stages", "sketch,sketch:classical",
        "--out", tmp_path / "built",
    )  # fmt: skip
    assert built["dataset_digest"] == strict["dataset_digest"]
    for output in ("best", "strict"):
        assert run("verify", tmp_path / output).code == 0


@pytest.mark.parametrize(
    ("stages", "shown"),
    [("none", "face"), ("sketch:classical,sketch", "face, classical sketch, sketch")],
)
def test_the_report_shows_what_there_is(
    pool: Path, tmp_path: Path, stages: str, shown: str
) -> None:
    made("dataset", "select", pool, "--top", 4, "--stages", stages, "--out", tmp_path / "out")
    page = tmp_path / "report.html"
    done = run("report", tmp_path / "out", "--out", page, "--engine", "inprocess")
    assert (done.code, done.err) == (0, "")
    text = page.read_text()
    assert f"<h2>Accepted: {shown}</h2>" in text
    triples = text[text.index('<div class="triples">') : text.index("<h2>Rejected faces</h2>")]
    assert triples.count("<img") == 4 * len(shown.split(","))
    assert "The 4 that a quality model gave the highest scores were kept" in text
    assert 'class="threshold"' not in text


def test_what_people_labelled_is_selected(pool: Path, tmp_path: Path) -> None:
    keep, reject = lines(pool, "rejected.jsonl")[3:6], lines(pool, "rejected.jsonl")[6:9]
    rows = [{"id": row["id"], "label": "keep"} for row in keep]
    rows += [{"id": row["id"], "label": "reject"} for row in reject]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = ("--labels", labels, "--stages", "none", "--out", tmp_path / "chosen")
    made("dataset", "select", pool, *options)

    assert [row["id"] for row in lines(tmp_path / "chosen")] == [row["id"] for row in keep]
    # In another order, with fewer rejected ones, it is the same choice.
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in reversed(rows[:4])))
    again = made("dataset", "select", pool, *options)
    assert again["accepted"] == 3


def test_labels_of_other_faces_are_refused(pool: Path, tmp_path: Path) -> None:
    (known, *_) = lines(pool, "rejected.jsonl")
    labels = tmp_path / "labels.jsonl"
    rows = [{"id": known["id"], "label": "keep"}, {"id": "0" * 16, "label": "keep"}]
    for given, why in (
        (rows, f"{pool} has no face with the id '{'0' * 16}'"),
        ([{"id": known["id"], "label": "reject"}], f"{labels} keeps no face"),
    ):
        labels.write_text("".join(f"{json.dumps(row)}\n" for row in given))
        done = run(
            "dataset", "select", pool, "--labels", labels, "--out", tmp_path / "out", *INPROCESS
        )
        assert (done.code, why in done.err) == (2, True)


def test_another_model_judges(pool: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(STORE / "tiny" / "quality", tmp_path / "strict" / "quality")
    model = json.loads((folder / "model.json").read_text())
    model["version"] = "2"
    (folder / "model.json").write_text(json.dumps(model))
    options = ("--quality", folder, "--stages", "none", "--out", tmp_path / "out")
    made("dataset", "select", pool, *options)

    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["models"]["quality"]["version"] == "2"
    threshold = recipe["filter"]["threshold"]
    expected = {row["id"] for row in lines(pool, "rejected.jsonl") if row["quality"] >= threshold}
    assert {row["id"] for row in lines(tmp_path / "out")} == expected != set()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "give one of --threshold, --top, --filter, --labels, or --quality MODEL"),
        (("--top", 3, "--threshold", 0.5), "give one of --threshold, --top and --filter"),
        (("--top", 131), "--top is 0 to the number of candidates"),
        (("--threshold", 1.5), "--threshold is 0 to 1"),
        (("--stages", "hair", "--top", 3), "--stages hair: no stage 'hair'; there are "),
        (("--labels", "nobody.jsonl"), "nobody.jsonl cannot be read: "),
    ],
)
def test_what_cannot_be_selected(
    pool: Path, tmp_path: Path, options: tuple[object, ...], why: str
) -> None:
    done = run("dataset", "select", pool, *options, "--out", tmp_path / "out", *INPROCESS)
    assert done.code == 2
    assert done.err.startswith(f"faceloom: {why}")
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_places_that_are_no_pools(pool: Path, tmp_path: Path) -> None:
    done = run("dataset", "select", pool, "--top", 3, "--out", pool, *INPROCESS)
    assert done.err == f"faceloom: {pool} is the pool itself; give another --out\n"
    done = run("dataset", "select", tmp_path, "--top", 3, "--out", tmp_path / "out", *INPROCESS)
    assert f"{tmp_path} is not a finished dataset" in done.err
    made("build", "--accepted", 1, "--stages", "none", "--out", tmp_path / "quota")
    done = run(
        "dataset", "select", tmp_path / "quota", "--top", 1, "--out", tmp_path / "out", *INPROCESS
    )
    assert "was built until 1 were accepted; a pool is built of --candidates N" in done.err
    done = run("dataset", "select", pool, "--quality", STORE, "--out", tmp_path / "out")
    assert "is a folder: add --engine inprocess, or give NAME/VERSION" in done.err
