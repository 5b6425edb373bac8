# Everything that made the tiny models, from two packages to the files in the store. Run it again after an
# interruption: what is made stays, trainings go on from their checkpoints.
# Usage: make -j2 -f recipe.mk [WORK=folder] [STORE=folder]   with `faceloom` on the PATH and the extra `train` installed.

WORK ?= out/train
STORE ?= $(WORK)/store/tiny
HERE := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
CODE := $(HERE)/../../services/faceloom
TEACHER := $(WORK)/teacher/gan_face_generate/weights.tar
MEDIAPIPE := $(WORK)/mediapipe/bin/python

# One core for each of the two lanes.
export OMP_NUM_THREADS := 1
# Large tensors are reused instead of returned to the system after every step; training is much faster.
export MALLOC_MMAP_THRESHOLD_ := 4294967296
export MALLOC_TRIM_THRESHOLD_ := 8589934592

.DELETE_ON_ERROR:
.PHONY: all
all: $(STORE)/generator/model.json $(STORE)/segmentation/model.json $(STORE)/sketch/model.json \
  $(STORE)/quality/model.json $(STORE)/translator/model.json

# MediaPipe needs old versions of numpy and protobuf, so it lives apart.
$(MEDIAPIPE):
	python3.11 -m venv $(WORK)/mediapipe
	$@ -m pip install --quiet mediapipe==0.10.21 pillow

$(TEACHER): | $(MEDIAPIPE)
	$(MEDIAPIPE) -m pip download --quiet --no-deps --dest $(WORK)/teacher gan-face-generate==1.1.1
	$(MEDIAPIPE) -m zipfile -e $(WORK)/teacher/gan_face_generate-1.1.1-py3-none-any.whl $(WORK)/teacher
	touch $@

$(WORK)/screening.npy: $(TEACHER)
	faceloom train screening-faces --teacher $< --out $@

$(WORK)/scores.npy: $(WORK)/screening.npy | $(MEDIAPIPE)
	$(MEDIAPIPE) $(CODE)/generator/screen_teacher.py $< $@

$(STORE)/generator/model.json: $(TEACHER) $(WORK)/scores.npy
	faceloom train generator --teacher $< --scores $(WORK)/scores.npy --run $(WORK)/generator --out $(@D)

$(WORK)/faces.npy: $(TEACHER)
	faceloom train teacher-faces --teacher $< --out $@

$(WORK)/mesh.npz: $(WORK)/faces.npy | $(MEDIAPIPE)
	$(MEDIAPIPE) $(CODE)/segmentation/face_mesh.py --faces $< --out $@

$(WORK)/layouts.npz: $(WORK)/faces.npy $(WORK)/mesh.npz
	faceloom train layouts --faces $< --mesh $(WORK)/mesh.npz --out $@

$(STORE)/segmentation/model.json: $(WORK)/faces.npy $(WORK)/layouts.npz
	faceloom train segmentation --faces $< --labels $(WORK)/layouts.npz \
	  --checkpoint $(WORK)/segmentation.pt --out $(@D)

$(WORK)/drawings.npz: $(WORK)/faces.npy $(WORK)/mesh.npz $(WORK)/layouts.npz
	faceloom train drawings --faces $< --mesh $(WORK)/mesh.npz --labels $(WORK)/layouts.npz --out $@

$(STORE)/sketch/model.json: $(WORK)/faces.npy $(WORK)/layouts.npz $(WORK)/drawings.npz
	faceloom train sketch --faces $< --labels $(WORK)/layouts.npz --targets $(WORK)/drawings.npz \
	  --checkpoint $(WORK)/sketch.pt --out $(@D)

# The training saves features.pt while it runs, so the end of it is marked by a file of its own.
$(WORK)/features.done: $(WORK)/faces.npy
	faceloom train quality-features --faces $< --checkpoint $(WORK)/features.pt
	touch $@

# The labels belong to the faces of the generator in this repository: a generator that was trained again
# needs labels of its own.
$(STORE)/quality/model.json: $(HERE)/quality/labels.jsonl $(WORK)/features.done
	faceloom train quality-from-scratch --labels $< --generator $(HERE)/generator \
	  --features $(WORK)/features.pt --run $(WORK)/quality --out $(@D)

# The filter decides which faces are in a dataset, so this one too is of the models in this repository.
$(WORK)/dataset/dataset.json:
	faceloom build --accepted 10500 --seed 1 --engine inprocess --out $(@D)

$(WORK)/translator/%/model/model.json: $(WORK)/dataset/dataset.json
	faceloom train translator --task $* --dataset $(<D) --out $(WORK)/translator/$* $(STEPS)
# Styles of reference faces are less exact than drawings are, and sooner learned.
$(WORK)/translator/face/model/model.json: STEPS := --steps 1500

TRANSLATORS := $(foreach task,sketch segmentation face,$(WORK)/translator/$(task))
$(STORE)/translator/model.json: $(TRANSLATORS:%=%/model/model.json)
	faceloom train join-translators $(TRANSLATORS) --out $(@D)
