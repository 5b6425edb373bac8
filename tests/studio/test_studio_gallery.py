"""Datasets as the studio shows them: what files say, and what is made again."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.studio.conftest import CANDIDATES, Studio

from faceloom.common.v1 import image_pb2
from faceloom.generator.v1 import generator_pb2


def rows(dataset: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset / name).read_text().splitlines()]


def rewrite(file: Path, text: str) -> None:
    """Writes a file anew; the one it shares its bytes with stays."""
    file.unlink()
    file.write_text(text)


async def get(studio: Studio, path: str, **query: object) -> tuple[int, Any]:
    async with studio.http.get(path, params={key: str(one) for key, one in query.items()}) as found:
        return found.status, await found.json()


async def picture(studio: Studio, **query: str) -> tuple[int, bytes]:
    async with studio.http.get("/api/picture", params=query) as found:
        return found.status, await found.read()


async def test_finished_datasets_are_listed(studio: Studio) -> None:
    summary = json.loads((studio.faces / "dataset.json").read_text())
    (studio.root / "being-made" / ".build").mkdir(parents=True)
    (studio.root / "broken").mkdir()
    (studio.root / "broken" / "dataset.json").write_text("{")

    status, found = await get(studio, "/api/datasets")

    assert status == 200
    assert found == {"datasets": [{"name": "faces", **summary}]}
    assert summary["planned"] == CANDIDATES


async def test_a_dataset_that_is_made_again_is_read_again(studio: Studio) -> None:
    await get(studio, "/api/faces", dataset="faces")
    file = studio.faces / "dataset.json"
    summary = json.loads(file.read_text())
    rewrite(file, json.dumps({**summary, "dataset_digest": "0" * 64}))
    kept = rows(studio.faces, "metadata.jsonl")[:3]
    rewrite(studio.faces / "metadata.jsonl", "".join(f"{json.dumps(row)}\n" for row in kept))

    _, found = await get(studio, "/api/faces", dataset="faces")

    assert found == {"total": 3, "faces": kept}


async def test_the_folder_itself_may_be_the_dataset(studio: Studio) -> None:
    for file in studio.faces.iterdir():
        os.rename(file, studio.root / file.name)
    studio.faces.rmdir()

    _, found = await get(studio, "/api/datasets")

    assert [one["name"] for one in found["datasets"]] == ["datasets"]
    assert (await get(studio, "/api/faces", dataset="datasets"))[0] == 200


async def test_faces_come_by_the_page(studio: Studio) -> None:
    accepted = rows(studio.faces, "metadata.jsonl")
    assert len(accepted) > 4

    _, first = await get(studio, "/api/faces", dataset="faces", limit=3)
    _, rest = await get(studio, "/api/faces", dataset="faces", offset=3)
    _, beyond = await get(studio, "/api/faces", dataset="faces", offset=10_000)

    assert first["faces"] + rest["faces"] == accepted
    assert first["total"] == rest["total"] == beyond["total"] == len(accepted)
    assert beyond["faces"] == []


@pytest.mark.parametrize("kind", ["face", "sketch", "layout"])
async def test_pictures_are_the_datasets_files(studio: Studio, kind: str) -> None:
    row = rows(studio.faces, "metadata.jsonl")[-1]
    file = {"face": "file_name", "sketch": "sketch_file_name", "layout": "layout_file_name"}[kind]

    status, data = await picture(studio, dataset="faces", id=row["id"], kind=kind)

    assert status == 200
    assert data == (studio.faces / row[file]).read_bytes()


async def test_a_rejected_face_is_made_again(studio: Studio) -> None:
    row = rows(studio.faces, "rejected.jsonl")[0]
    request = generator_pb2.GenerateRequest(
        seeds=[row["seed"]], truncation_psi=0.7, output_format=image_pb2.IMAGE_FORMAT_PNG
    )
    [face] = (await studio.faceloom.generate(request)).faces

    status, data = await picture(studio, dataset="faces", id=row["id"])

    assert status == 200
    assert data == face.image.data


async def test_seeds_that_browsers_would_round_are_text(studio: Studio) -> None:
    """Files of before have nothing but numbers."""
    row = rows(studio.faces, "metadata.jsonl")[0]
    lines = (json.dumps({**row, "id": "0", "seed": 2**53 - 1}), json.dumps({**row, "seed": 2**53}))
    rewrite(studio.faces / "metadata.jsonl", "\n".join(lines))

    _, found = await get(studio, "/api/faces", dataset="faces")

    assert [face["seed"] for face in found["faces"]] == [2**53 - 1, str(2**53)]


async def test_a_rejected_face_whose_seed_is_text_is_made_again(studio: Studio) -> None:
    row = rows(studio.faces, "rejected.jsonl")[0]
    request = generator_pb2.GenerateRequest(
        seeds=[2**64 - 1], truncation_psi=0.7, output_format=image_pb2.IMAGE_FORMAT_PNG
    )
    [face] = (await studio.faceloom.generate(request)).faces
    rewrite(studio.faces / "rejected.jsonl", json.dumps({**row, "seed": str(2**64 - 1)}))

    assert await picture(studio, dataset="faces", id=row["id"]) == (200, face.image.data)


async def test_another_generator_makes_no_rejected_face(studio: Studio) -> None:
    recipe = json.loads((studio.faces / "recipe.json").read_text())
    recipe["models"]["generator"]["digest"] = "f" * 64
    rewrite(studio.faces / "recipe.json", json.dumps(recipe))
    [row, *_] = rows(studio.faces, "rejected.jsonl")

    status, found = await get(studio, "/api/picture", dataset="faces", id=row["id"])

    assert status == 409
    assert found["error"].startswith("faces was made by generator ffffffffffff, the one that is ")


async def test_a_dataset_reaches_no_file_outside_of_it(studio: Studio) -> None:
    secret = studio.root / "secret.png"
    secret.write_bytes(b"secret")
    [row, *_] = rows(studio.faces, "metadata.jsonl")
    rewrite(
        studio.faces / "metadata.jsonl", json.dumps({**row, "file_name": "../secret.png"}) + "\n"
    )

    status, found = await get(studio, "/api/picture", dataset="faces", id=row["id"])

    assert status == 409
    assert "file_name is '../secret.png', no path below the dataset" in found["error"]


@pytest.mark.parametrize(
    ("path", "query", "status", "message"),
    [
        ("/api/faces", {"dataset": "none"}, 404, "there is no finished dataset 'none' in "),
        ("/api/faces", {"dataset": "../faces"}, 404, "there is no finished dataset '../faces'"),
        ("/api/faces", {}, 400, "dataset: Field required"),
        ("/api/faces", {"dataset": "faces", "limit": 501}, 400, "limit: Input should be less than"),
        ("/api/faces", {"dataset": "faces", "offset": -1}, 400, "offset: Input should be greater"),
        ("/api/picture", {"dataset": "faces", "id": "?"}, 404, "faces has no face of '?'"),
    ],
)
async def test_what_is_not_there(
    studio: Studio, path: str, query: dict[str, object], status: int, message: str
) -> None:
    answered, found = await get(studio, path, **query)

    assert answered == status
    assert found["error"].startswith(message)


async def test_a_file_that_is_gone(studio: Studio) -> None:
    [row, *_] = rows(studio.faces, "metadata.jsonl")
    (studio.faces / row["file_name"]).unlink()

    status, found = await get(studio, "/api/picture", dataset="faces", id=row["id"])

    assert status == 409
    assert f"{row['file_name']}: it is missing; faceloom verify" in found["error"]
