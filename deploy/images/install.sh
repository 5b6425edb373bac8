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
# Compiled is only what servers import; images are read-only, so what is not stays so.
packages='pygments|rich|pydantic/v1|kubernetes/aio|sympy|mpmath|networkx|opentelemetry/(sdk/)?(semconv|metrics|_logs)'
/venv/bin/python -m compileall -q -j 0 -x "/($packages|torch/(_inductor|_dynamo|onnx|_numpy|testing))/" .
