"""Calls the pipeline service for a test that is not in its network: `Method JSON` comes in, JSON goes out."""

import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict

from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.pipeline.v1 import pipeline_pb2_grpc
from faceloom.runtime.channel import CHANNEL_OPTIONS


def main(target: str) -> None:
    """Answers until its input ends; with `{"code": ..., "details": ...}` when the service refuses."""
    with grpc.insecure_channel(target, CHANNEL_OPTIONS) as channel:
        stub = pipeline_pb2_grpc.PipelineServiceStub(channel)
        for line in sys.stdin:
            method, _, fields = line.partition(" ")
            request = ParseDict(json.loads(fields), getattr(pb, f"{method}Request")())
            try:
                answer = MessageToDict(getattr(stub, method)(request, timeout=30))
            except grpc.RpcError as error:
                answer = {"code": error.code().name, "details": error.details()}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
