"""A build in a process of its own, to be killed: `python killed_build.py OUTPUT SPEC [--retry-failed]`.

Prints the digest of the dataset; POOL in the environment may name a pool. The services take a little time, so
that the kill meets every part of a build.
"""

import asyncio
import json
import os
import sys

from tests.builds.fake_services import FakeServices

from faceloom.builds.options import BuildOptions
from faceloom.builds.run import run_build
from faceloom.datasets.place import output_of
from faceloom.datasets.spec import BuildSpec


def main() -> None:
    output, spec = output_of(sys.argv[1]), BuildSpec(**json.loads(sys.argv[2]))
    pool = output_of(os.environ["POOL"]) if "POOL" in os.environ else None
    options = BuildOptions(blocks=3, shards=4, retry_failed="--retry-failed" in sys.argv, pool=pool)
    result = asyncio.run(run_build(spec, output, FakeServices().client(), options))
    print(result.summary.dataset_digest)


if __name__ == "__main__":
    main()
