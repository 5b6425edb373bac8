"""Fixtures that several kinds of tests share. Models are the real ones of `model_store/tiny`."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from faceloom.core.logs import JsonFormatter
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.store.profile import model_folder
from tests.samples import face
from tests.stacks import stack, start_stack

# Fixtures are known by being here.
__all__ = ["stack", "start_stack"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "torchserve: starts a real TorchServe")
    config.addinivalue_line("markers", "cluster: starts a real Kubernetes cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fast ones first, so that failures are known early; then those with TorchServe, then a cluster."""
    slow = ("cluster", "torchserve")
    items.sort(key=lambda item: [item.get_closest_marker(one) is not None for one in slow])


@pytest.fixture(autouse=True)
def logs_of_one_test() -> Iterator[None]:
    """A command that serves sends the logs of its process to standard error: not those of later tests."""
    root, level = logging.getLogger(), logging.getLogger().level
    hooks = sys.excepthook, threading.excepthook
    yield
    root.handlers[:] = [
        one for one in root.handlers if not isinstance(one.formatter, JsonFormatter)
    ]
    root.setLevel(level)
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks


@pytest.fixture(scope="session")
def handler_of() -> Iterator[Callable[[str], AnyHandler]]:
    """The handler of a service with its shipped model, loaded once."""
    # As workers do: the number of threads may reach the bytes.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    @cache
    def load(name: str) -> AnyHandler:
        handler = service(name).new_handler()
        handler.load(model_folder("tiny", name), "cpu")
        return handler

    yield load
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def faces() -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Pictures with different content, [64, 64, 3]."""
    return [face(number) for number in range(16)]
