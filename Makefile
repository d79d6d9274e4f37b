# make demo: the main job on a fresh machine. make test: the test suite. Both set up what they need.
PYTHON ?= python3
BIN := .venv/bin
SHARED := $(wildcard ../shared)
TEST_ENV := $(if $(SHARED),SPPREPRO_GOLDEN=$(abspath ../shared/golden) SPPREPRO_DATA=$(abspath ../shared/data))

.PHONY: setup demo test lint bench report dashboard screenshots clean

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,sweep,slurm,export,browser]'
	touch $@

demo: setup
	$(BIN)/python -m spprepro experiment=table1_zf5_multisize results_dir=results/demo

test: setup
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# make bench PHOTOS=DIR: also the copies of a training set (data.cache) on photos in ImageNet's layout. The generated pictures
# cannot stand for such: what a copy saves depends on how large and how compressed photos are.
bench: setup
	$(BIN)/python -m spprepro task=bench bench=input_pipeline
	$(if $(PHOTOS),$(BIN)/python -m spprepro task=bench bench=input_pipeline data=imagenet data.root=$(PHOTOS) data.cache=raw)
	$(if $(PHOTOS),$(BIN)/python -m spprepro task=bench bench=input_pipeline data=imagenet data.root=$(PHOTOS) data.cache=jpeg)
	$(BIN)/python -m spprepro task=bench bench=train_step
	$(BIN)/python -m spprepro task=bench bench=train_loop
	$(BIN)/python -m spprepro task=bench bench=views backbone=overfeat7
	$(BIN)/python -m spprepro task=bench bench=window_pooling
	$(BIN)/python -m spprepro task=bench bench=rcnn_vs_spp
	$(BIN)/python -m spprepro task=bench bench=detection
	$(BIN)/python -m spprepro task=bench bench=svm
	$(BIN)/python -m spprepro task=bench bench=transfer
	$(BIN)/python -m spprepro task=report

report: setup
	$(BIN)/python -m spprepro task=report
	$(BIN)/python -m spprepro.report.readme
	$(BIN)/python -m spprepro task=plan experiment=all tier=paper trainer=ddp results_dir=none data.root=none voc.root=none caltech.root=none > docs/costs.txt

dashboard: setup
	$(BIN)/python -m spprepro.report.board
	$(BIN)/tensorboard --logdir results

screenshots: setup
	$(BIN)/python -m spprepro.report.board
	$(BIN)/python -m tests.browser.screenshots

clean:
	rm -rf .venv dist build
