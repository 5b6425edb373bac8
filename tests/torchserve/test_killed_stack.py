"""`faceloom up` killed before it could end anything."""

import tempfile
from pathlib import Path

import psutil
import pytest
from tests.stacks import launch
from tests.stores import put_import

from faceloom.store.new_profile import create_profile

pytestmark = pytest.mark.torchserve


def test_no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    put_import(store, "quality", "taste")
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(store))
    create_profile("small", {"quality": ["taste"]}, None)
    # What is left are its files.
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        up, stack = launch(tmp_path, "small", scratch)
        family = stack.process.children(recursive=True)
        workers = [one for one in family if "model_service_worker" in " ".join(one.cmdline())]
        assert len(workers) == 1 and len(family) > 3

        up.kill()
        up.wait()

        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
