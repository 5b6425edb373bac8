"""The facts in the service.toml files, and what is rendered from them."""

import json
from pathlib import Path

import pytest
import yaml
from google.protobuf import symbol_database
from pydantic import ValidationError
from tests.fakes import EchoHandler, fake_service

from faceloom.core.errors import UsageError
from faceloom.runtime.service import MAX_MESSAGE_BYTES, Service, service, services
from faceloom.runtime.targets import PIPELINE_PORT
from faceloom.runtime.torchserve.config import Ports, render_model_config, render_properties


def test_there_are_at_least_the_four_model_services() -> None:
    assert {"generator", "quality", "segmentation", "sketch"} <= set(services())


@pytest.mark.parametrize("name", services())
def test_a_service_names_a_proto_service_of_its_own_package(name: str) -> None:
    facts = service(name)

    assert facts.service == f"faceloom.{name}.v1.{name.capitalize()}Service"
    assert facts.descriptor.full_name == facts.service
    assert len(facts.methods) >= 1


@pytest.mark.parametrize("name", services())
def test_a_service_names_a_handler_of_its_own_requests(name: str) -> None:
    facts = service(name)

    handler = facts.new_handler()

    (method,) = facts.descriptor.methods
    assert handler.service is facts
    assert handler.request_type.DESCRIPTOR is method.input_type


def test_ports_do_not_collide() -> None:
    ports = [facts.port for facts in services().values()] + [PIPELINE_PORT]
    metrics = [port - 1000 for port in ports]

    everything = [*ports, *metrics, *vars(Ports()).values()]

    assert len(set(everything)) == len(everything)


def test_the_largest_answers_of_a_service_fit_into_a_message() -> None:
    # 64 raw pictures of 256 x 256 are 12.6 MB; the services' own limits must allow the pipeline's calls.
    assert MAX_MESSAGE_BYTES == 16 * 1024 * 1024


def test_an_unknown_service_is_a_mistake_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"generator.*quality"):
        service("translador")


@pytest.mark.parametrize(
    "change", [{"max_batch": 0}, {"max_items": -1}, {"max_seconds": 0}, {"typo": 1}]
)
def test_senseless_facts_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        fake_service(**change)


def test_a_handler_is_found_by_its_name() -> None:
    assert isinstance(fake_service().new_handler(), EchoHandler)


@pytest.fixture
def properties() -> dict[str, str]:
    facts: list[Service] = [fake_service(max_batch=4), fake_service(name="other", max_batch=2)]
    text = render_properties(facts, Path("/models"), Ports())
    return dict(line.split("=", 1) for line in text.splitlines())


def test_torchserve_listens_on_loopback_only(properties: dict[str, str]) -> None:
    addresses = [value for key, value in properties.items() if key.endswith("_address")]

    assert len(addresses) == 5
    assert all(value.removeprefix("http://").startswith("127.0.0.1") for value in addresses)


def test_torchserve_loads_the_named_archives_and_nothing_else(properties: dict[str, str]) -> None:
    models = json.loads(properties["models"])

    assert properties["load_models"] == "fake.mar,other.mar"
    assert set(models) == {"fake", "other"}
    assert models["fake"]["1.0"]["batchSize"] == 1
    assert models["fake"]["1.0"]["maxBatchDelay"] == 0
    # The longest call times the calls of a batch.
    assert models["fake"]["1.0"]["responseTimeout"] == 40
    assert properties["enable_model_api"] == "false"
    assert properties["install_py_dep_per_model"] == "false"
    assert properties["allowed_urls"] == "file://nothing"


def test_torchserve_takes_the_largest_batch_that_a_front_may_send(
    properties: dict[str, str],
) -> None:
    # Exceeding either kills the worker.
    assert int(properties["max_request_size"]) > 4 * MAX_MESSAGE_BYTES
    assert int(properties["max_response_size"]) > 4 * MAX_MESSAGE_BYTES


def test_the_model_config_of_an_archive_agrees_with_the_properties(
    properties: dict[str, str],
) -> None:
    config = yaml.safe_load(render_model_config(fake_service(max_batch=4)))

    in_properties = json.loads(properties["models"])["fake"]["1.0"]
    assert config == {key: in_properties[key] for key in config}


def test_generated_messages_are_registered_once() -> None:
    for facts in services().values():
        for method in facts.descriptor.methods:
            found = symbol_database.Default().pool.FindMessageTypeByName(
                method.input_type.full_name
            )
            assert found is method.input_type
