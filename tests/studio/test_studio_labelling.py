"""Faces to judge, and what becomes of the judgement."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studio.conftest import CANDIDATES, Studio

from faceloom.store.profile import model_folder
from faceloom.training.quality.choices import PARTS, part_of, read_choices


async def following(
    studio: Studio, person: str, count: int = 12, offset: int = 0
) -> dict[str, Any]:
    query = {"dataset": "faces", "person": person, "count": f"{count}", "offset": f"{offset}"}
    async with studio.http.get("/api/labels/next", params=query) as found:
        assert found.status == 200
        answer: dict[str, Any] = await found.json()
        return answer


async def judge(studio: Studio, face: str, label: str, person: str = "Ann") -> tuple[int, Any]:
    word = {"dataset": "faces", "id": face, "person": person, "label": label}
    async with studio.http.put("/api/labels", json=word) as found:
        return found.status, await found.json()


async def verdicts(studio: Studio) -> Any:
    async with studio.http.get("/api/labels", params={"dataset": "faces"}) as found:
        return await found.json()


async def test_everybody_is_asked_the_same_in_the_same_order(studio: Studio) -> None:
    ann = await following(studio, "Ann")
    bob = await following(studio, "Bob")

    assert ann == bob
    assert (ann["done"], ann["total"]) == (0, CANDIDATES)
    assert len(ann["faces"]) == 12
    # Nothing is told but which faces: a score would speak for the person.
    assert ann.keys() == {"faces", "done", "total"}
    assert all(isinstance(face, str) for face in ann["faces"])


async def test_what_was_judged_is_not_asked_again(studio: Studio) -> None:
    first, second, *_ = (await following(studio, "Ann"))["faces"]
    await judge(studio, first, "keep")

    after = await following(studio, " Ann ")

    assert after["faces"][0] == second
    assert after["done"] == 1
    assert (await following(studio, "Bob"))["faces"][0] == first


async def test_what_was_skipped_is_asked_another_time(studio: Studio) -> None:
    one, two, three, four = (await following(studio, "Ann", 4))["faces"]
    await judge(studio, two, "keep")

    assert (await following(studio, "Ann", 2, offset=1))["faces"] == [three, four]
    assert (await following(studio, "Ann", 2))["faces"] == [one, three]
    assert (await following(studio, "Ann", 2, offset=CANDIDATES))["faces"] == []


async def test_a_judgement_taken_back_is_asked_again(studio: Studio) -> None:
    [first, *_] = (await following(studio, "Ann"))["faces"]
    await judge(studio, first, "keep")
    query = {"dataset": "faces", "id": first, "person": "Ann"}
    async with studio.http.delete("/api/labels", params=query) as found:
        assert found.status == 200

    assert (await following(studio, "Ann"))["faces"][0] == first


async def test_how_far_people_are(studio: Studio) -> None:
    one, two, *_ = (await following(studio, "Ann"))["faces"]
    await judge(studio, one, "keep")
    await judge(studio, one, "keep", "Bob")
    await judge(studio, two, "keep")
    await judge(studio, two, "reject", "Bob")

    assert await verdicts(studio) == {
        "keep": 1,
        "reject": 0,
        "tied": 1,
        "people": {"Ann": 2, "Bob": 2},
        "agreement": 0.5,
    }
    counted = [
        studio.registry.get_sample_value("faceloom_studio_labels_total", {"label": label})
        for label in ("keep", "reject")
    ]
    assert counted == [3, 1]


async def test_a_person_is_one_whatever_the_spelling(studio: Studio) -> None:
    one, two, *_ = (await following(studio, "Ann"))["faces"]
    await judge(studio, one, "keep", "Rene\u0301  Li")
    await judge(studio, two, "keep", " ren\u00e9 li ")

    assert (await following(studio, "REN\u00c9 LI"))["done"] == 2
    assert (await verdicts(studio))["people"] == {"Ren\u00e9 Li": 2}


async def test_the_label_file_is_what_the_training_reads(studio: Studio, tmp_path: Path) -> None:
    faces = (await following(studio, "Ann", 100))["faces"]
    said = {face: "keep" if number % 2 else "reject" for number, face in enumerate(faces)}
    for face, label in said.items():
        await judge(studio, face, label)
    async with studio.http.get("/api/labels.jsonl", params={"dataset": "faces"}) as found:
        text = await found.text()
    file = tmp_path / "labels.jsonl"
    file.write_text(text)

    choices = read_choices(file, studio.faces, model_folder("tiny", "generator"))

    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["id"]: row["label"] for row in rows} == said
    assert len(choices.faces) == 100
    for part in PARTS:
        kept = sum(label == "keep" for face, label in said.items() if part_of(face) == part)
        assert int(choices.of(part)[1].sum()) == kept


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"id": "nobody"}, 404, "faces has no face with the id 'nobody'"),
        ({"dataset": "none"}, 404, "there is no finished dataset 'none'"),
        ({"label": "maybe"}, 400, "label: Input should be 'keep' or 'reject'"),
        ({"person": "  "}, 400, "person: String should have at least 1 character"),
        ({"person": "A\0nn"}, 400, "person: String should match pattern"),
        ({"person": "x" * 65}, 400, "person: String should have at most 64 characters"),
    ],
)
async def test_what_is_no_label(
    studio: Studio, change: dict[str, str], status: int, message: str
) -> None:
    [first, *_] = (await following(studio, "Ann"))["faces"]
    word = {"dataset": "faces", "id": first, "person": "Ann", "label": "keep", **change}
    async with studio.http.put("/api/labels", json=word) as found:
        assert found.status == status
        assert (await found.json())["error"].startswith(message)
    assert (await verdicts(studio))["people"] == {}


async def test_a_body_that_is_no_json(studio: Studio) -> None:
    async with studio.http.put("/api/labels", data=b"{") as found:
        assert found.status == 400
        assert "Invalid JSON" in (await found.json())["error"]
