"""The studio as people use it: with a mouse and keys, in a real browser, over the real services."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from tests.browser.conftest import CANDIDATES, MANY, Studio
from tests.commands import faceloom
from tests.stacks import RunningStack

from faceloom.layouts.labels import colourise
from faceloom.store.profile import model_store

pytestmark = [pytest.mark.torchserve, pytest.mark.timeout(300)]

FACELOOM = (sys.executable, "-m", "faceloom.cli.main")

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def rows(studio: Studio, dataset: str = "faces") -> list[dict[str, Any]]:
    text = (studio.root / dataset / "metadata.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def pixels_of(image: Locator) -> Pixels:
    """The pixels of a picture that is in the page."""
    address = image.get_attribute("src") or ""
    return decoded(base64.b64decode(address.partition(",")[2]))


def board(page: Page) -> Pixels:
    """What is on the drawing board, RGB."""
    return decoded(
        base64.b64decode(
            page.eval_on_selector("#board", "board => board.toDataURL()").partition(",")[2]
        )
    )


def decoded(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def translated(page: Page, count: int) -> list[Pixels]:
    """The faces, when the last stroke has become faces."""
    expect(page.locator("#faces.stale")).to_have_count(0)
    faces = page.locator("#faces img")
    expect(faces).to_have_count(count)
    return [pixels_of(face) for face in faces.all()]


def until(page: Page, truth: str) -> None:
    """Waits for an expression. The page's own policy forbids Playwright's way to do that."""
    for _ in range(600):
        if page.evaluate(truth):
            return
        page.wait_for_timeout(50)
    raise AssertionError(truth)


def judge(page: Page, key: str) -> None:
    """Presses a key when the face is to be seen."""
    expect(page.locator("#keep")).to_be_enabled()
    page.keyboard.press(key)


def drag(page: Page, *points: tuple[float, float]) -> None:
    """A stroke through places of the board, each 0 to 1."""
    box = page.locator("#board").bounding_box()
    assert box
    where = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*where[0])
    page.mouse.down()
    for place in where[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def test_the_gallery_shows_a_dataset(studio: Studio, page: Page) -> None:
    page.goto(studio.url)
    faces = page.locator("#faces img")
    expect(faces).to_have_count(len(rows(studio)))
    expect(page.locator("#figures")).to_contain_text(f"candidates{CANDIDATES}")

    faces.first.click()
    expect(page.locator("#one-facts")).to_contain_text(rows(studio)[0]["id"])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#one-facts")).to_contain_text(rows(studio)[1]["id"])
    for kind in ("face", "sketch", "layout"):
        until(page, f"document.getElementById('one-{kind}').naturalWidth > 0")


def test_the_gallery_grows_as_one_scrolls(studio: Studio, page: Page) -> None:
    total = len(rows(studio, "many"))
    assert total > 120
    page.goto(f"{studio.url}/gallery?dataset=many")
    faces = page.locator("#faces img")
    expect(faces.nth(100)).to_be_attached()
    assert faces.count() < total
    while (there := faces.count()) < total:
        faces.last.scroll_into_view_if_needed()
        page.mouse.wheel(0, 10_000)
        expect(faces.nth(there)).to_be_attached()
    expect(page.locator("#end")).to_have_text(f"{total} of {total}")
    expect(faces).to_have_count(total)


def test_a_person_labels_by_key(studio: Studio, page: Page, tmp_path: Path) -> None:
    page.goto(f"{studio.url}/label?dataset=faces")
    expect(page.locator("#question")).to_be_hidden()
    page.fill("#person", "Ann")
    page.press("#person", "Enter")
    seen = []
    for key, done in (("k", 1), ("r", 2), ("k", 3), ("u", 2), ("r", 3)):
        seen.append(page.locator("#face").get_attribute("src"))
        judge(page, key)
        expect(page.locator("#done")).to_have_text(f"{done} of {CANDIDATES} judged by you")
    expect(page.locator("#verdicts")).to_have_text("1 to keep, 2 to reject (Ann 3).")
    # What was taken back is asked again; all others are new.
    assert seen[2] == seen[4] and len({*seen[:4]}) == 4

    out = tmp_path / "labels.jsonl"
    done = faceloom(
        *("label", "export", "--dataset", studio.root / "faces", "--labels", studio.labels),
        *("--out", out),
        store=model_store(),
    )
    assert done.code == 0
    labels = sorted(json.loads(line)["label"] for line in out.read_text().splitlines())
    assert labels == ["keep", "reject", "reject"]

    page.reload()
    expect(page.locator("#done")).to_have_text(f"3 of {CANDIDATES} judged by you")


def test_label_says_how_to_begin(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/label?dataset=faces")
    expect(page.locator("#nobody")).to_have_text("Type your name to begin.")
    expect(page.locator("#person")).to_be_focused()
    page.keyboard.type("Eve")
    page.keyboard.press("Enter")
    expect(page.locator("#nobody")).to_be_hidden()
    expect(page.locator("#keep")).to_be_enabled()


def test_keys_work_under_caps_lock_and_on_keyboards_of_other_scripts(
    studio: Studio, page: Page
) -> None:
    page.goto(f"{studio.url}/label?dataset=faces")
    page.fill("#person", "Fay")
    page.press("#person", "Enter")
    judge(page, "K")
    expect(page.locator("#done")).to_have_text(f"1 of {CANDIDATES} judged by you")
    expect(page.locator("#keep")).to_be_enabled()
    # The key of K writes л in Russian.
    page.evaluate(
        "document.body.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'л', code: 'KeyK', bubbles: true}))"
    )
    expect(page.locator("#done")).to_have_text(f"2 of {CANDIDATES} judged by you")

    page.goto(f"{studio.url}/draw?dataset=faces&id={rows(studio)[0]['id']}")
    translated(page, 6)
    page.keyboard.press("E")
    expect(page.locator("#erase")).to_be_checked()


@pytest.mark.parametrize("address", ["gallery", "label", "draw", "builds"])
def test_a_page_is_no_wider_than_a_phone(studio: Studio, page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{studio.url}/{address}")
    if address == "builds":
        page.fill("input[name=name]", "n" * 64)
        page.fill("input[name=count]", "1")
        page.get_by_role("button", name="Build").click()
        expect(page.locator("#builds tr", has_text="n" * 64)).to_contain_text("succeeded")
    else:
        expect(page.locator("#person, #faces img").first).to_be_visible()
    for part in ("scrollingElement", "querySelector('main')"):
        widths = page.evaluate(f"[document.{part}.scrollWidth, document.{part}.clientWidth]")
        assert widths[0] == widths[1] <= 390, part


def test_a_face_is_made_again_from_the_seed_that_is_shown(
    studio: Studio, stack: RunningStack, page: Page, tmp_path: Path
) -> None:
    row = rows(studio, "large-seeds")[0]
    page.goto(f"{studio.url}/gallery?dataset=large-seeds")
    page.locator("#faces img").first.click()
    shown = page.locator("#one-facts div", has_text="seed").locator("dd").inner_text()
    assert int(shown) > 2**63
    again = subprocess.run(
        [*FACELOOM, "generate", "--seeds", shown, "--psi", "0.7", "--out", tmp_path],
        env={**os.environ, "FACELOOM_PORT_OFFSET": str(stack.port_offset)},
        check=False,
    )
    assert again.returncode == 0
    picture = page.request.get(f"{studio.url}/api/picture?dataset=large-seeds&id={row['id']}")
    made = decoded((tmp_path / f"seed{shown}.png").read_bytes())
    assert (decoded(picture.body()) == made).all()


def test_styles_have_all_seeds(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/draw?dataset=faces&id={rows(studio)[0]['id']}")
    translated(page, 6)
    page.fill("#variants", "3")
    page.fill("#style", str(2**64 - 2))
    page.press("#style", "Tab")
    of_all = translated(page, 3)
    shown = [face.get_attribute("alt") for face in page.locator("#faces img").all()]
    assert shown == [f"Style {2**64 - 2}", f"Style {2**64 - 1}", "Style 0"]

    page.fill("#style", str(2**64 - 1))
    page.press("#style", "Tab")
    assert (translated(page, 3)[0] == of_all[1]).all()


def test_a_stroke_changes_the_faces(studio: Studio, page: Page) -> None:
    row = rows(studio)[0]
    page.goto(f"{studio.url}/draw?task=sketch&dataset=faces&id={row['id']}")
    before = translated(page, 6)
    blank = board(page)

    drag(page, (0.2, 0.2), (0.8, 0.2), (0.8, 0.8))
    after = translated(page, 6)
    drawn = board(page)
    page.keyboard.press("Control+z")
    undone = translated(page, 6)

    assert (drawn != blank).any()
    assert all((one != other).any() for one, other in zip(before, after, strict=True))
    assert (board(page) == blank).all()
    assert all((one == other).all() for one, other in zip(before, undone, strict=True))


def test_a_layout_is_painted_in_classes(studio: Studio, page: Page) -> None:
    row = rows(studio)[0]
    page.goto(f"{studio.url}/draw?task=segmentation&dataset=faces&id={row['id']}")
    before = translated(page, 6)
    with Image.open(studio.root / "faces" / row["layout_file_name"]) as layout:
        colours = layout.convert("RGB").resize((256, 256), Image.Resampling.NEAREST)
    assert (board(page) == np.asarray(colours)).all()

    page.get_by_label("hat").check()
    drag(page, (0.05, 0.05), (0.95, 0.05))
    hat = (board(page) == (255, 51, 153)).all(axis=-1)
    assert hat[12, 20:236].all()
    after = translated(page, 6)
    assert any((one != other).any() for one, other in zip(before, after, strict=True))

    page.get_by_label("fill").check()
    page.get_by_label("cloth").check()
    drag(page, (0.5, 0.05))
    assert not (board(page) == (255, 51, 153)).all(axis=-1)[hat].any()


def test_a_picture_of_ones_own_is_drawn_on(studio: Studio, page: Page, tmp_path: Path) -> None:
    """A wide one stays whole, on white paper."""
    wide, text = tmp_path / "wide.png", tmp_path / "text.png"
    Image.fromarray(
        np.pad(np.zeros((8, 40, 3), np.uint8), ((12,) * 2, (12,) * 2, (0, 0)), constant_values=255)
    ).save(wide)
    text.write_text("no picture")
    page.goto(f"{studio.url}/draw?dataset=faces&id={rows(studio)[0]['id']}")
    translated(page, 6)
    with page.expect_response("**/api/translate?*"):
        page.set_input_files("#open", wide)
    opened = board(page)
    assert (opened[:60] == 255).all() and (opened[-60:] == 255).all()
    assert (opened[115:-115, 60:-60] == 0).all()

    page.set_input_files("#open", text)
    expect(page.locator("#message")).to_contain_text("this is a text file")
    assert (board(page) == opened).all()


def test_a_layout_of_ids_is_opened_and_a_photograph_is_not(
    studio: Studio, page: Page, tmp_path: Path
) -> None:
    ids = np.arange(16, dtype=np.uint8).reshape(4, 4).repeat(64, 0).repeat(64, 1)
    Image.fromarray(ids).save(tmp_path / "ids.png")
    Image.fromarray(colourise(ids)).save(tmp_path / "colours.jpg")
    page.goto(f"{studio.url}/draw?task=segmentation&dataset=faces&id={rows(studio)[0]['id']}")
    translated(page, 6)
    with page.expect_response("**/api/translate?*"):
        page.set_input_files("#open", tmp_path / "ids.png")
    assert (board(page) == colourise(ids)).all()

    for file, why in (
        (tmp_path / "colours.jpg", "a JPEG mixes the classes"),
        (studio.root / "faces" / rows(studio)[0]["file_name"], "is no colour of CelebAMask-HQ's"),
    ):
        page.set_input_files("#open", file)
        expect(page.locator("#message")).to_contain_text(why)
        assert (board(page) == colourise(ids)).all()

    with page.expect_download() as saving:
        page.get_by_role("button", name="Save").click()
    with Image.open(saving.value.path()) as saved:
        assert (np.asarray(saved) == ids).all()


def test_a_drawing_survives_a_reload(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/draw?dataset=faces&id={rows(studio)[0]['id']}")
    translated(page, 6)
    drag(page, (0.2, 0.2), (0.8, 0.2), (0.8, 0.8))
    translated(page, 6)
    sketch = board(page)
    page.get_by_label("a layout").check()
    translated(page, 6)
    page.get_by_label("hat").check()
    drag(page, (0.05, 0.05), (0.95, 0.05))
    translated(page, 6)
    layout = board(page)

    page.reload()
    translated(page, 6)
    assert page.get_by_label("a layout").is_checked()
    assert (board(page) == layout).all()
    page.keyboard.press("Control+z")  # there is nothing to undo yet
    assert (board(page) == layout).all()
    page.get_by_label("a sketch").check()
    translated(page, 6)
    assert (board(page) == sketch).all()

    page.get_by_role("button", name="Clear").click()
    page.reload()
    translated(page, 6)
    assert (board(page) != sketch).any() and (board(page) != 255).any()


def test_a_picture_that_comes_late_covers_no_stroke(studio: Studio, page: Page) -> None:
    held: list[Route] = []
    page.route("**/api/picture?*", lambda route: held.append(route))
    address = f"{studio.url}/draw?dataset=faces&id={rows(studio)[0]['id']}"
    with page.expect_request("**/api/picture?*"):
        page.goto(address, wait_until="domcontentloaded")
    drag(page, (0.2, 0.2), (0.8, 0.8))
    drawn = board(page)
    with page.expect_response("**/api/picture?*"):
        held[0].continue_()
    translated(page, 6)

    assert (board(page) == drawn).all()


def test_an_empty_sheet_is_no_face(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/draw?dataset=faces&id={rows(studio)[0]['id']}")
    before = translated(page, 6)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#message")).not_to_be_empty()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#message")).to_be_empty()
    assert all((one == other).all() for one, other in zip(before, translated(page, 6), strict=True))


def test_other_styles_keep_the_drawing(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/draw?task=sketch&dataset=faces&id={rows(studio)[0]['id']}")
    before, drawn = translated(page, 6), board(page)
    page.fill("#variants", "2")
    page.press("#variants", "Tab")
    fewer = translated(page, 2)
    page.get_by_role("button", name="Other styles").click()
    other = translated(page, 2)

    assert (board(page) == drawn).all()
    assert (fewer[0] == before[0]).all()
    assert (other[0] != fewer[0]).any()


def test_a_build_is_ordered_and_followed(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/builds")
    page.fill("input[name=name]", "ordered")
    page.fill("input[name=count]", "64")
    page.get_by_role("button", name="Build").click()
    line = page.locator("#builds tr", has_text="ordered")
    expect(line).to_contain_text("succeeded")
    expect(line).to_contain_text("64 of 64 candidates")

    line.get_by_role("link", name="ordered").click()
    expect(page.locator("#dataset")).to_have_value("ordered")
    assert (studio.root / "ordered" / "dataset.json").is_file()


def test_a_face_that_cannot_be_shown_is_skipped(studio: Studio, page: Page) -> None:
    """No model that is served has made the rejected faces of this dataset."""
    turns = 20
    query = {"dataset": "many", "person": "Dan", "count": turns}
    asked = page.request.get(f"{studio.url}/api/labels/next", params=query).json()["faces"]
    accepted = {row["id"] for row in rows(studio, "many")}
    page.goto(f"{studio.url}/label?dataset=many")
    page.fill("#person", "Dan")
    page.press("#person", "Enter")
    for identity in asked:
        expect(page.locator("#face")).to_have_attribute("src", re.compile(f"id={identity}&"))
        if identity in accepted:
            judge(page, "k")
        else:
            expect(page.locator("#message")).to_contain_text("is not loaded")
            expect(page.locator("#keep")).to_be_disabled()
            page.keyboard.press("n")
    done = len(accepted.intersection(asked))
    assert 0 < done < turns
    expect(page.locator("#done")).to_have_text(f"{done} of {MANY} judged by you")


def test_a_label_that_is_not_saved_is_asked_for_again(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/label?dataset=faces")
    page.fill("#person", "Cid")
    page.press("#person", "Enter")
    expect(page.locator("#face")).to_be_visible()
    asked = page.locator("#face").get_attribute("src")
    assert asked
    page.route("**/api/labels?*", lambda route: route.abort())
    judge(page, "k")
    expect(page.locator("#message")).to_have_text("The studio does not answer.")
    expect(page.locator("#face")).to_have_attribute("src", asked)

    page.unroute("**/api/labels?*")
    judge(page, "k")
    expect(page.locator("#done")).to_have_text(f"1 of {CANDIDATES} judged by you")
    expect(page.locator("#message")).to_have_text("")
    expect(page.locator("#face")).not_to_have_attribute("src", asked)
