"""A build in a process of its own, to be killed: `python killed_build.py OUTPUT SPEC [--retry-failed]`.

Prints the dataset's digest. The services take a little time, so that the kill meets every part of a build.
"""

import asyncio
import json
import sys

from tests.builds.fake_services import FakeServices

from faceloom.builds.run import Options, run_build
from faceloom.datasets.place import output_of
from faceloom.datasets.spec import BuildSpec


def main() -> None:
    output, spec = output_of(sys.argv[1]), BuildSpec(**json.loads(sys.argv[2]))
    options = Options(jobs=3, shards=4, retry_failed="--retry-failed" in sys.argv)
    result = asyncio.run(run_build(spec, output, FakeServices().client(), options))
    print(result.summary.dataset_digest)


if __name__ == "__main__":
    main()
