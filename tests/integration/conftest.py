"""Translators for the integration tests: a served one with random weights, and what trainings share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.translator_data import build_dataset, train_alone, write_generator, write_lpips
from tests.translators import loaded, write_model

from faceloom.runtime.handler import AnyHandler
from faceloom.store.model import open_model
from faceloom.translator.model import Translator, load_translator


@pytest.fixture(scope="session")
def translator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator for every task, in a store of its own."""
    store = tmp_path_factory.mktemp("store")
    return write_model(store / "tiny" / "translator", ("sketch", "segmentation", "face"))


@pytest.fixture(scope="session")
def translator(translator_folder: Path) -> Iterator[AnyHandler]:
    """Its handler."""
    threads = torch.get_num_threads()
    yield loaded(translator_folder)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def translator_network(translator_folder: Path, translator: AnyHandler) -> Translator:
    """Its network, loaded apart from the handler's."""
    return load_translator(open_model(translator_folder), "cpu")


@pytest.fixture(scope="session")
def training_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`store/`, a model store with a generator; `dataset/`, built with it; `lpips.pth`."""
    folder = tmp_path_factory.mktemp("training")
    generator = write_generator(folder / "store" / "tiny" / "generator")
    build_dataset(folder / "dataset", generator)
    write_lpips(folder / "lpips.pth")
    return folder


@pytest.fixture(scope="session")
def undisturbed(training_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of six steps that nobody killed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    train_alone(training_store, out)
    return out
