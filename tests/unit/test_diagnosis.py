"""Why a process ended, from lines that real ones wrote."""

from typing import Any

import pytest

from faceloom.core.logs import as_event
from faceloom.runtime.diagnosis import why_it_died
from faceloom.runtime.torchserve.diagnosis import worker_that_died


def plain(*lines: str) -> list[dict[str, Any]]:
    return [as_event(line, "torchserve") for line in lines]


def worker(message: str, logger: str = "MODEL_LOG", level: str = "warn") -> dict[str, Any]:
    thread = "W-12000-quality_1.0-stderr"
    return {"level": level, "logger": logger, "thread": thread, "message": message, "stack": ""}


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (
            [
                "java.io.IOException: Failed to bind to address: http://127.0.0.1:11080",
                "\tat org.pytorch.serve.ModelServer.initializeServer(ModelServer.java:354)",
                "Caused by: io.netty.channel.unix.Errors$NativeIoException: bind(..) failed: Address already"
                " in use",
                'Exception in thread "Thread-0" java.util.concurrent.RejectedExecutionException: terminated',
                "\tat io.netty.util.concurrent.SingleThreadEventExecutor.reject(SingleThread.java:926)",
            ],
            "bind(..) failed: Address already in use",
        ),
        (
            [
                "Error occurred during initialization of VM",
                "Could not reserve enough space for 524288 KB object heap",
            ],
            "Could not reserve enough space for 524288 KB object heap",
        ),
        (
            [
                "Traceback (most recent call last):",
                '  File "faceloom/cli/main.py", line 10, in <module>',
                "    import grpc",
                "ImportError: libstdc++.so.6: cannot open shared object file",
            ],
            "ImportError: libstdc++.so.6: cannot open shared object file",
        ),
        (
            ['{"level": "critical", "message": "cannot listen on 127.0.0.1:1: no", "stack": ""}'],
            "cannot listen on 127.0.0.1:1: no",
        ),
        (
            [
                "# A fatal error has been detected by the Java Runtime Environment:",
                "#  SIGSEGV (0xb) at pc=0x00007f, pid=1, tid=2",
                "jvm_args: -XX:+ErrorFileToStderr",
            ],
            "SIGSEGV (0xb) at pc=0x00007f, pid=1, tid=2",
        ),
        (["Model server started.", "WARNING: old"], "exit code 3"),
    ],
)
def test_last_words(lines: list[str], cause: str) -> None:
    assert why_it_died(plain(*lines), 3) == cause


def test_signals() -> None:
    assert why_it_died([], -9) == "killed, maybe for want of memory"
    assert why_it_died([], -6) == "signal SIGABRT"


def test_a_worker_that_cannot_import() -> None:
    said = [
        worker("Traceback (most recent call last):"),
        worker("    import torch"),
        worker("torch.errors.ImportError: no torch here"),
        worker("model_name: quality, batchSize: 1", level="info"),
        worker("Stopped Scanner", "WorkerLifeCycle", "info"),
        worker("Backend worker error", "WorkerThread", "error"),
    ]
    assert worker_that_died(said[:-1]) == ""
    assert worker_that_died(said) == (
        "the quality model cannot be loaded (ImportError: no torch here)"
    )


def test_a_worker_whose_model_is_broken() -> None:
    said = [
        worker(
            '{"level": "critical", "message": "SafetensorError: header too large", "stack": "x"}'
        ),
        worker("Load model failed: quality, error: Worker died.", "BatchAggregator"),
    ]
    assert worker_that_died(said) == (
        "the quality model cannot be loaded (SafetensorError: header too large)"
    )


def test_a_worker_that_was_killed() -> None:
    said = [worker("Load model failed: quality, error: Worker died.", "BatchAggregator")]
    assert worker_that_died(said).endswith(
        "(its worker ended without a word; maybe for want of memory)"
    )
