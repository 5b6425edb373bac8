#!/bin/sh
# Installs what a role of the project needs into /venv: `install.sh [EXTRA [REQUIREMENT]]`.
set -eu
cd "$(dirname "$0")"
python3 requirements.py ${1:+"$1"} > needed.txt
python3 -m pip --python /venv/bin/python install --no-cache-dir --no-compile -c requirements.lock \
  -r needed.txt ${2:+"$2"}
# Torch's own tests, and what programs are compiled with against it.
cd /venv/lib/python3*/site-packages
rm -rf torch/test torch/include torch/bin/test_* torch/bin/protoc*
# What type checkers and compilers of protos read.
find . \( -name '*.pyi' -o -name '*.proto' \) -delete
# Compiled is only what servers import; images are read-only, so what is not stays so.
packages='pygments|rich|markdown_it|mdurl|pydantic/v1|kubernetes/aio|sympy|mpmath|networkx'
tracing='opentelemetry/(sdk|exporter|proto|semconv|metrics|_logs)'
/venv/bin/python -m compileall -q -j 0 -x "/($packages|$tracing|torch/(_inductor|_dynamo|onnx|_numpy|testing))/" .
