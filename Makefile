# make demo   set up, then run the main job on the embedded tiny model: caches, training, generated videos
# make test   set up, then run the tests
# make check  set up, then style, types and the direction of imports
# make clean  remove what the above wrote (the virtual environment and outputs/)

PYTHON ?= python3
VENV := .venv
# threads of PyTorch that wait should not burn the cores that other programs need
export GOMP_SPINCOUNT ?= 1000
PY := $(VENV)/bin/python

.PHONY: demo test check clean
.DEFAULT_GOAL := demo

$(VENV)/runtime.stamp: requirements.txt
	@echo "== setting up $(VENV) (packages are downloaded once)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --progress-bar on -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/runtime.stamp
	@echo "== adding what the tests need"
	@$(PY) -m pip install --progress-bar on -r requirements-dev.txt
	@touch $@

# structure from motion for one step of the demo, which leaves it out where there is no such package
$(VENV)/colmap.stamp: requirements-colmap.txt $(VENV)/runtime.stamp
	@echo "== adding what lifts cameras from videos"
	-@$(PY) -m pip install --progress-bar on -r requirements-colmap.txt
	@touch $@

demo: $(VENV)/runtime.stamp $(VENV)/colmap.stamp
	@$(PY) tools/run_demo.py

test: $(VENV)/dev.stamp
	@echo "== running the tests, a file to each of two processes of one thread"
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m "not gpu" -n 2 --dist loadfile

check: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV) outputs .pytest_cache .ruff_cache .import_linter_cache .hypothesis
