"""A plugin of pytest that tells which tests run which lines: `-p tests.mutation.coverage_by_test`.

Writes the file that `COVERAGE_BY_TEST` names: seconds by test, and tests by module and line. What runs in
processes that a test starts is not seen.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

_SOURCES = Path("services/faceloom").resolve()
_measured = coverage.Coverage(data_file=None, source=[str(_SOURCES)], messages=False)
_seconds: Counter[str] = Counter()


def pytest_configure() -> None:
    _measured.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _measured.switch_context(item.nodeid)
    yield
    _measured.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # One that does not pass here would kill every mutant.
    _seconds[report.nodeid] += report.duration if report.passed else float("inf")


def pytest_sessionfinish() -> None:
    _measured.stop()
    data = _measured.get_data()
    passed = {test: seconds for test, seconds in _seconds.items() if seconds < float("inf")}
    lines = {
        Path(file).relative_to(_SOURCES).as_posix(): {
            line: sorted(tests & passed.keys())
            for line, contexts in data.contexts_by_lineno(file).items()
            if (tests := set(contexts))
        }
        for file in data.measured_files()
    }
    text = json.dumps({"seconds": passed, "tests": lines})
    Path(os.environ["COVERAGE_BY_TEST"]).write_text(text)
