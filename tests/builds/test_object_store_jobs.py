"""Builds on an object store as Jobs, over the pipeline service's API."""

from pathlib import Path

from tests.builds.api import ended, order, refusal
from tests.builds.fake_cluster import FakeCluster
from tests.builds.fake_services import FakeServices
from tests.builds.job_builds import SPEC, Setup, committed, until
from tests.builds.object_store import ObjectStore, objects_of

from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb


async def test_a_build_on_an_object_store_needs_no_volume(
    store: ObjectStore, setup: Setup, tmp_path: Path
) -> None:
    local = await run_build(BuildSpec(candidates=400), tmp_path / "local", FakeServices().client())
    place = store.new_place()
    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order(place, **SPEC))).build
            await until(stub, made.id, committed(1))
            cluster.running()[0].process.kill()
            done = await ended(stub, made.id)
            assert (done.state, done.output) == (pb.BUILD_STATE_SUCCEEDED, str(place))
            assert done.dataset_digest == local.summary.dataset_digest
            assert not verify(place)
            await stub.DeleteBuild(pb.DeleteBuildRequest(id=made.id, delete_files=True))
    assert not objects_of(place)


async def test_a_build_on_an_object_store_survives_a_restart(
    store: ObjectStore, setup: Setup
) -> None:
    place = store.new_place()
    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order(place, **SPEC))).build
            await until(stub, made.id, committed(1))
        async with setup.serving(cluster) as stub:
            done = await ended(stub, made.id)
    assert done.state == pb.BUILD_STATE_SUCCEEDED
    assert not verify(place)


async def test_a_bucket_that_is_missing_ends_a_build_with_the_reason(
    store: ObjectStore, setup: Setup
) -> None:
    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order("s3://nowhere/faces", **SPEC))).build
            failed = await ended(stub, made.id)
            assert (await refusal(stub.CreateBuild(order("s3://Nowhere", "two")))).field == "output"
    assert failed.state == pb.BUILD_STATE_FAILED
    assert failed.error == "there is no bucket 'nowhere'; make it, or check AWS_ENDPOINT_URL_S3"
