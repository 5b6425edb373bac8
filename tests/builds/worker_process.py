"""`faceloom jobs work` over fake services, as a process: its arguments are the command's.

FAULT='{"service": "quality", "reason": "GONE"}' makes that service fail every request; HOLD=N makes the
generator answer N times and then no more; BUSY=SERVICE makes that service fail its first request.
"""

import json
import os
import sys

from tests.builds.api import Gate
from tests.builds.fake_services import FakeServices, times

from faceloom.cli.main import run
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FailedPrecondition, Unavailable


def services() -> FakeServices:
    made = FakeServices()
    if fault := os.environ.get("FAULT"):
        broken = json.loads(fault)

        def fail(service: str, seeds: set[int]) -> None:
            if service == broken["service"]:
                raise FailedPrecondition("the model was unloaded", reason=broken["reason"])

        made.fault = fail
    if busy := os.environ.get("BUSY"):
        made.fault = times(1, busy, Unavailable("restarting"))
    if hold := os.environ.get("HOLD"):
        made.gate = Gate(int(hold))
    return made


if __name__ == "__main__":
    Faceloom.connect = classmethod(lambda cls, **options: services().client())  # type: ignore[assignment, method-assign]
    sys.argv = ["faceloom", "jobs", "work", *sys.argv[1:]]
    run()
