"""Renders TorchServe's configuration from the `service.toml` files, so that limits cannot drift."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faceloom.runtime.service import MAX_MESSAGE_BYTES, Service


@dataclass(frozen=True)
class Ports:
    """TorchServe's loopback ports. Workers listen on Unix sockets that are numbered from `workers`."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071
    workers: int = 9000

    @property
    def listening(self) -> list[int]:
        """Those that are TCP ports."""
        return [port for name, port in vars(self).items() if name != "workers"]

    def moved(self, offset: int) -> "Ports":
        """All of them moved by that much, so that several can run side by side."""
        return Ports(**{name: port + offset for name, port in vars(self).items()})


def render_properties(services: Iterable[Service], store: Path, ports: Ports) -> str:
    """config.properties for a TorchServe that holds these services and nobody outside can reach.

    All ASCII, as `java.util.Properties` reads it.
    """
    services = list(services)
    # A batch's answers come back together.
    largest = MAX_MESSAGE_BYTES * max(service.max_batch for service in services) + 2**20
    models = {
        service.name: {
            "1.0": {
                "defaultVersion": True,
                "marName": f"{service.name}.mar",
                "minWorkers": 1,
                "maxWorkers": 1,
                "batchSize": 1,
                "maxBatchDelay": 0,
                "responseTimeout": int(service.max_seconds * service.max_batch),
            }
        }
        for service in services
    }
    lines = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": ports.grpc_management,
        "initial_worker_port": ports.workers,
        "model_store": store,
        "load_models": ",".join(f"{service.name}.mar" for service in services),
        "models": json.dumps(models, separators=(",", ":")),
        "max_request_size": largest,
        "max_response_size": largest,
        "job_queue_size": 100,
        "metrics_mode": "prometheus",
        "disable_token_authorization": "true",
        "enable_model_api": "false",
        "install_py_dep_per_model": "false",
        "allowed_urls": "file://nothing",
        "blacklist_env_vars": ".*(TOKEN|SECRET|KEY|PASSWORD).*",
        "enable_envvars_config": "false",
        "number_of_netty_threads": 2,
        "netty_client_threads": 2,
        # The default heap is a quarter of the machine's memory. TorchServe hands messages on: optimizing
        # its code takes more of the processor, beside the workers, than it gives back.
        "vmargs": "-Xms64m -Xmx512m -XX:MaxDirectMemorySize=512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }
    return "".join(f"{key}={_escaped(str(value))}\n" for key, value in lines.items())


def _escaped(value: str) -> str:
    r"""A value of a properties file: Java reads Latin-1, `\uXXXX` of UTF-16, and drops leading blanks."""
    start = len(value) - len(value.lstrip(" "))
    return "\\ " * start + "".join(map(_escaped_letter, value[start:]))


def _escaped_letter(letter: str) -> str:
    if letter == "\\":
        return "\\\\"
    if " " <= letter <= "~":
        return letter
    units = letter.encode("utf-16-be")
    return "".join(
        f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2)
    )


def render_model_config(service: Service) -> str:
    """model-config.yaml of an archive: the same limits, for a TorchServe that was configured elsewhere."""
    return (
        "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\nmaxBatchDelay: 0\n"
        f"responseTimeout: {int(service.max_seconds * service.max_batch)}\n"
    )
