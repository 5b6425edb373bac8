"""The Job that is applied by hand says the same as the pipeline service's."""

from typing import Any

from tests.deploy.rendering import jobs, of_kind, worker_job
from typer.main import get_command

from faceloom.cli.main import app


def _spec() -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(jobs(), "Job")["build-example"]["spec"]
    return spec


def test_its_command_is_understood_and_has_an_index_for_every_shard() -> None:
    [worker] = _spec()["template"]["spec"]["containers"]
    group, name, *arguments = worker["args"]
    command = get_command(app).commands[group].commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, arguments).params

    assert given["shards"] == _spec()["completions"]
    assert given["finalize"] is True


def test_its_failures_are_read_as_the_pipeline_service_reads_them() -> None:
    made = worker_job()["spec"]

    assert _spec()["podFailurePolicy"] == made["podFailurePolicy"]
    assert _spec()["backoffLimitPerIndex"] == made["backoffLimitPerIndex"]
    [worker] = made["template"]["spec"]["containers"]
    [by_hand] = _spec()["template"]["spec"]["containers"]
    assert by_hand["resources"]["requests"] == worker["resources"]["requests"]
