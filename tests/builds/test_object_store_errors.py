"""Stores that cannot be used: one line that says what to do, and an exit code that says whether to retry."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices
from tests.builds.object_store import BUCKET, ObjectStore, objects_of
from tests.builds.test_object_store import run
from tests.builds.workers import ROOT, end, start_worker

from faceloom.builds.options import BuildOptions
from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.builds.worker import Assignment, exit_code, work
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.datasets import objects
from faceloom.datasets.objects import StoreMisconfigured, StoreUnavailable
from faceloom.datasets.place import ObjectUrl, output_of
from faceloom.datasets.spec import BuildSpec

SPEC = BuildSpec(candidates=100)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=5)}
    quick = objects.RETRIES | {"backoff": {**backoff, "base": 2}}
    monkeypatch.setattr(objects, "RETRIES", quick)


def one_line(error: FaceloomError) -> str:
    text = str(error)
    assert text and "\n" not in text and "obstore" not in text
    return text


async def refused(place: ObjectUrl) -> tuple[str, int]:
    """What a worker says, and its exit code."""
    with pytest.raises(FaceloomError) as caught:
        await work(Assignment(place, 0, SPEC, 1), FakeServices().client())
    return one_line(caught.value), exit_code(caught.value)


async def test_a_bucket_that_is_missing(store: ObjectStore) -> None:
    assert await refused(ObjectUrl("nowhere", "faces")) == (
        "there is no bucket 'nowhere'; make it, or check AWS_ENDPOINT_URL_S3", 78,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (401, "InvalidToken")])
async def test_access_denied(method: str, status: int, code: str, store: ObjectStore) -> None:
    place = store.new_place()
    store.fail(method, status, code)
    said, exited = await refused(place)
    assert said == (
        f"access to {place} is denied ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        " and what they may do"
    )
    assert exited == 78


async def test_a_region_that_is_wrong(store: ObjectStore) -> None:
    place = store.new_place()
    store.fail("GET", 400, "AuthorizationHeaderMalformed")
    assert await refused(place) == (
        f"the store of {place} refuses: 400 AuthorizationHeaderMalformed; check AWS_REGION and"
        " AWS_ENDPOINT_URL_S3", 78,
    )  # fmt: skip


async def test_credentials_that_are_not_given(
    impatient: None, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store.new_place()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert await refused(place) == (
        f"the AWS_... settings cannot be used for {place}: Missing AccessKeyId", 78,
    )  # fmt: skip
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # Nobody listens where a machine of AWS would give some.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    said, exited = await refused(place)
    assert said.startswith("there are no credentials for s3://")
    assert exited == 78


async def test_a_store_that_nobody_answers_for(
    impatient: None, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    place = store.new_place()
    said, exited = await refused(place)
    assert said == f"the store of {place} cannot be reached; check AWS_ENDPOINT_URL_S3"
    assert exited == 1


@pytest.mark.parametrize(("status", "code"), [(507, "StorageFull"), (503, "SlowDown")])
async def test_a_store_that_fills_up_ends_the_build_and_loses_nothing(
    status: int, code: str, impatient: None, store: ObjectStore
) -> None:
    place, spec = store.new_place(), BuildSpec(candidates=256)

    def full(progress: object) -> None:
        if progress.shards_committed == 2:  # type: ignore[attr-defined]
            store.fail("PUT POST", status, code)

    with pytest.raises(StoreUnavailable) as caught:
        await run_build(spec, place, FakeServices().client(), BuildOptions(shards=4), full)
    assert one_line(caught.value) == f"the store of {place} answers {status} {code}"
    assert exit_code(caught.value) == 1
    store.mend()
    services = FakeServices()
    assert (await run_build(spec, place, services.client())).summary.planned == 256
    assert not verify(place)


async def test_a_store_that_hesitates_is_waited_for(impatient: None, store: ObjectStore) -> None:
    place = store.new_place()
    store.fail("GET PUT POST", 503, "SlowDown", times=5)
    assert (await run(SPEC, place)).summary.planned == 100


async def test_an_answer_that_was_lost_is_not_taken_for_a_rival(
    impatient: None, store: ObjectStore
) -> None:
    place = store.new_place()
    store.fail("PUT", 500, "InternalError", lost=True)
    await work(Assignment(place, 0, SPEC, 1), FakeServices().client())
    shard = sorted(path for path in objects_of(place) if "shards" in path)
    assert [path.rpartition(".")[2] for path in shard] == ["tar", "json"]
    assert (await run(SPEC, place)).summary.planned == 100


@pytest.mark.parametrize(
    "text", ["s3://", "s3://b", "s3://Bucket/x", "s3://faces/../x", "gs://b/x"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="give s3://bucket/prefix"):
        output_of(text)


def test_places_are_named_in_one_way() -> None:
    assert output_of("s3://faces/a/b/") == ObjectUrl("faces", "a/b")
    assert str(ObjectUrl("faces", "a/b")) == "s3://faces/a/b"
    assert output_of("faces") == Path("faces").resolve()


def test_misconfigured_workers_end_with_78(store: ObjectStore) -> None:
    worker = start_worker(ObjectUrl("nowhere", "x"), 0, spec=SPEC)
    code, said = end(worker)
    assert (code, said) == (
        78, "faceloom: there is no bucket 'nowhere'; make it, or check AWS_ENDPOINT_URL_S3",
    )  # fmt: skip
    assert issubclass(StoreMisconfigured, UsageError)


async def test_commands(store: ObjectStore, tmp_path: Path) -> None:
    place = store.new_place()
    done = (await run(SPEC, place)).summary

    def faceloom(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "faceloom.cli.main", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return ended.returncode, ended.stdout, ended.stderr

    assert faceloom("verify", str(place)) == (0, f"{place} is intact\n", "")
    code, said, _ = faceloom("dataset", "fetch", str(place), str(tmp_path / "here"), "--json")
    assert (code, json.loads(said)["dataset_digest"]) == (0, done.dataset_digest)
    assert faceloom("verify", str(tmp_path / "here"))[0] == 0
    assert faceloom("verify", f"s3://{BUCKET}/nothing")[0] == 1
    code, _, said = faceloom("dataset", "fetch", str(tmp_path), str(tmp_path / "there"))
    assert (code, said) == (
        2, f"faceloom: {tmp_path} is here already; give s3://bucket/prefix\n",
    )  # fmt: skip
    for command in (
        ("train", "translator", "--task", "sketch", "--dataset", str(place), "--out", "run"),
        ("report", str(place)),
    ):
        assert faceloom(*command) == (
            2, "", f"faceloom: {place} is read from a local folder: faceloom dataset fetch {place} DIR,"
            " then give DIR\n",
        )  # fmt: skip
