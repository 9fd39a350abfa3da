# The pipeline: one rule per stage, from files to files. What is older than what it depends on is made again.
.DEFAULT_GOAL := help
.NOTPARALLEL:

# ---- what is asked for ----
SHARED := COMP EXP SET MACHINE RUN INPUTS CACHE
TYPED := FOLD GPUS TORCHRUN RUNS EXPS NAME ONLY A B BACKBONES CUT CHECKS FORCE FROM ONCE MSG LAST PUBLIC REPORT SIZES SWEEP TRIALS CLUSTER CPUS LIMIT BUDGET N MACHINES DISK NETWORK
# Values are taken as they were typed (value) and quoted for the shell; exporting them would run a $(shell ...) in them.
unexport $(SHARED) $(TYPED)
quoted = '$(subst ','\'',$1)'
is_from = $(filter $1,$(firstword $(origin $2)))
names := $(foreach v,$(if $(filter 0,$(MAKELEVEL)),$(.VARIABLES),$(SHARED) $(TYPED)),$(if $(call is_from,command,$v),$v))
names += $(foreach v,$(SHARED),$(if $(call is_from,environment,$v),$v))
ASKED := $(foreach v,$(names),$(call quoted,$v=$(strip $(value $v))))
# A NAME or B in someone's shell is theirs: these count from the command line alone.
typed = $(if $(call is_from,command,$1),$(strip $(value $1)))
# Python checks it all, and names the run's folder. Else it says in one line what is wrong.
PYTHON ?= python3
SMOKE := $(if $(filter smoke,$(MAKECMDGOALS)), --smoke)
run = $(shell $(PYTHON) -m src.run.variables$(SMOKE) $(SHARED) $(TYPED) PY PYTHON VENV -- $(ASKED)$1)
R := $(call run)
members = $(foreach exp,$(call typed,EXPS),$(notdir $(call run, EXP=$(exp))))
$(if $(filter runs/%,$(firstword $R)),,$(error $(or $R,$(PYTHON) does not run here; give one that does: PYTHON=/usr/bin/python3)))
CSV := submissions/$(notdir $R).csv

# ---- which Python: the venv's, yours (PY=python), or on Kaggle and Colab theirs, whose torch is never replaced ----
VENV ?= .venv
HOSTED := $(if $(wildcard $(VENV)/bin/python),,$(KAGGLE_KERNEL_RUN_TYPE)$(COLAB_RELEASE_TAG)$(wildcard /kaggle /content))
STAMP := $(if $(PY),,$(if $(HOSTED),.hosted-stamp,$(VENV)/.stamp))
PY ?= $(if $(HOSTED),$(PYTHON),$(VENV)/bin/python)
NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup needs Python 3.11 or newer, $(PYTHON) is older: make setup PYTHON=python3.12"; exit 2; }
# pip tells of a full disk in its last line or not at all, and unpacks in the system's folder for temporary files.
FULL = df -h . $${TMPDIR:-/tmp}; echo "setup stopped, see above. Where a disk is full: free some space, or TMPDIR=/a/larger/folder make setup"
PIP := -m pip install --quiet --disable-pip-version-check
PODIUM := $(PY) -m src
ASK := $(if $(ASKED),env $(ASKED) )$(PODIUM)
CLEAN_ENV := unset MAKEFLAGS MAKELEVEL MFLAGS; OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}
extra = $(if $(wildcard src/extras/$1.py src/extras/$1/command.py),$1)
part = $(if $(call extra,$1),$2)
option = $(if $(call typed,$(word 2,$1)),--$(word 1,$1)=$(call quoted,$(call typed,$(word 2,$1))))
check = $(if $(filter 0,$(call typed,CHECKS)),,$(call extra,$1))
QUICK := --quick --quiet$(if $(filter -%,$(call typed,CHECKS)), --skip=$(call quoted,$(call typed,CHECKS)))
AUDIT = $(if $(call check,audit),$(PODIUM) audit $1 $(QUICK) && )
TRAIN := $(call AUDIT,$R)$(PODIUM) $(strip weights $(call check,doctor) train)
# The same by the tasks of a cluster: the checks of a run here, then the folds of all there.
CHECKED = $(call AUDIT,$1)$(PODIUM) $(strip weights $(call check,doctor)) $1$(if $(call check,doctor), $(QUICK)) &&
ON := $(if $(call typed,CLUSTER),--on $(call typed,CLUSTER)$(if $(call typed,CPUS), --cpus $(call typed,CPUS))$(if $(call typed,LIMIT), --limit $(call typed,LIMIT)))
CLUSTERED := $(if $(ON),$(if $(STAMP),$(STAMP)-cluster))
OPTIONS := $R$(if $(call check,doctor), $(QUICK))$(if $(call typed,GPUS), --gpus $(call typed,GPUS))$(if $(call typed,TORCHRUN), --torchrun=$(call quoted,$(call typed,TORCHRUN)))$(if $(call typed,FOLD), --fold $(call typed,FOLD))
# At the end of submit: a report that takes a tenth of the run's time, REPORT=1: any. Then the summary on W&B. It can fail without harm (-).
LOOKS := $(strip $(if $(filter 0,$(call typed,REPORT)),,$(call extra,report)) $(call extra,wandb_summary))
LOOK := $(if $(LOOKS),-@$(PODIUM) $(LOOKS) $R$(if $(call extra,report),$(if $(call typed,REPORT),, --if-quick)))
ALWAYS := $(if $(call typed,FORCE),always)
RETIRE := $(if $(filter retrain,$(MAKECMDGOALS)),retire)
# What is newer than .started was made by this call.
done = @[ $1 -nt $R/.started ] || echo "nothing to do: $1 is up to date"
.PHONY: help setup data weights configure split train submit smoke retrain retire infer test test-all soak lint clean clean-cache always $(foreach x,advise audit bench bundle card compare doctor ensemble export holders layers pictures plan pseudo rehearse report restore runs board verify watch ledger,$(call extra,$x)) $(foreach x,push push-code pull,$(call part,kaggle,$x))
help: ## this screen
	@$(PYTHON) -m src.run.variables --help
setup: $(STAMP) ## a virtual environment in .venv with everything in it; nothing is installed twice
	@echo "setup: $(PY) is ready"
$(VENV)/.stamp: requirements.txt constraints.txt
	@$(NEW_ENOUGH)
	@echo "setup 1/3: a virtual environment in $(VENV)" && $(PYTHON) -m venv $(VENV)
	@echo "setup 2/3: torch, the large part (once; minutes; on Linux 6 GB of disk, and 3 more meanwhile)"
	@$(VENV)/bin/python $(PIP) torch torchvision -c constraints.txt || { $(FULL); exit 2; }
	@echo "setup 3/3: the rest of requirements.txt"
	@$(VENV)/bin/python $(PIP) -r requirements.txt -c constraints.txt || { $(FULL); exit 2; }
	@touch $@
.hosted-stamp: requirements-kaggle.txt
	@$(NEW_ENOUGH)
	@echo "setup: torch is here already and stays; adding what is missing" && $(PY) $(PIP) -r requirements-kaggle.txt && touch $@
$(STAMP)-dev: requirements-dev.txt $(STAMP)
	@echo "setup: what the tests need" && $(PY) $(PIP) -r requirements-dev.txt $(if $(HOSTED),,-c constraints.txt) && touch $@

# What an extra needs beside requirements.txt; with PY= it is yours to install.
$(STAMP)-%: requirements-%.txt $(STAMP)
	@echo "setup: requirements-$*.txt" && $(PY) $(PIP) -r $< $(if $(HOSTED),,-c constraints.txt) && touch $@

# ---- the pipeline ----
data: | $(STAMP) ## a competition's files into inputs/COMP: the demo's, those of inputs/COMP.zip, or Kaggle's
	@$(if $(call extra,kaggle),$(ASK) kaggle download $R && )$(ASK) data $R --verbose
# Each json is rewritten only when its settings change, so everything below runs again exactly when it should.
configure: | $(STAMP)
	@$(ASK) data configure $R$(SMOKE) && touch $R/.started
$R/split.json $R/train.json $R/predict.json $R/submit.json: configure ;
$R/folds.csv: $R/split.json $(ALWAYS)
	$(PODIUM) split $R$(if $(call typed,FORCE), --force)
# All that needs torch in one process: it trains what is missing. The checks are left out where nothing but predict.json is newer ($?).
$R/test.json: $R/train.json $R/folds.csv $R/predict.json $(RETIRE) $(ALWAYS) | $(CLUSTERED)
	$(if $(ON),$(call CHECKED,$R) $(PODIUM) cluster $R $(ON),$(if $(filter-out %/predict.json,$?),$(TRAIN) predict $(OPTIONS),$(PODIUM) train predict $R))
$(CSV): $R/submit.json $R/test.json $(ALWAYS)
	$(PODIUM) submit $R
	$(LOOK)
.PRECIOUS: $R/folds.csv $R/test.json $(CSV) # written whole or not at all, so that a stop need not remove them
split: $R/folds.csv ## each image into a fold: runs/RUN/folds.csv
	$(call done,$<)
ifneq ($(and $(filter train,$(MAKECMDGOALS)),$(call typed,RUNS)),)
train: | $(STAMP) $(CLUSTERED)
	$(if $(ON),,$(error train RUNS="a b" is for a cluster, this machine alone: CLUSTER=local))
	@for run in $(call typed,RUNS); do [ -f runs/$$run/config.json ] || { echo "RUNS: there is no run $$run; this makes it: make split RUN=$$run, with its COMP, EXP and SET"; exit 2; }; done
	@for run in $(call typed,RUNS); do $(ASK) data configure runs/$$run && $(PODIUM) split runs/$$run && $(call CHECKED,runs/$$run) true || exit 2; done
	$(PODIUM) cluster $(addprefix runs/,$(call typed,RUNS)) $(ON)
else ifeq ($(call typed,FOLD),)
train: $R/test.json ## every unfinished fold, then the score and the test predictions
	$(call done,$<)
submit: $(CSV) ## the whole chain to submissions/RUN.csv, checked
	$(call done,$<)
else # the products have the fold in their names: fold0/test.parquet, submissions/RUN.fold0.csv
train: $R/train.json $R/folds.csv $(RETIRE) | $(CLUSTERED)
	$(if $(ON),$(call CHECKED,$R) $(PODIUM) cluster $R $(ON) --fold $(call typed,FOLD),$(TRAIN) $(OPTIONS))
submit: $R/predict.json $R/submit.json $R/train.json $R/folds.csv | $(CLUSTERED)
	$(if $(ON),$(call CHECKED,$R) $(PODIUM) cluster $R $(ON) --fold $(call typed,FOLD) && $(PODIUM) predict submit $R --fold $(call typed,FOLD),$(TRAIN) predict submit $(OPTIONS))
endif
smoke: submit ## a first look at your data: 200 images, 2 folds, 1 epoch, to a csv
retrain: train ## train the folds again whose code has changed; the old ones are kept in runs/RUN/old
retire: configure
	@$(PODIUM) retire $R
infer: | $(STAMP) ## predict a new test set with a finished run, to submissions/RUN.infer.csv: RUN=name INPUTS=folder
	@$(PODIUM) predict $R --inputs $(call quoted,$(if $(value INPUTS),$(strip $(value INPUTS)),inputs))
weights: configure ## the pretrained weights of the run's backbone into weights/
	@$(PODIUM) weights $R --hub

# ---- the extras: a rule without a target, where the extra is deleted, is none ----
$(call extra,layers): configure ## the layer groups by number: what trainable=N means
	@$(PODIUM) layers $R
$(call extra,doctor): $R/folds.csv ## check the model and recipe before they cost hours
	@$(PODIUM) weights doctor $R
$(call extra,audit): $R/folds.csv ## check a competition's data: files, classes, copies and leaks, labels, test beside train
	@$(PODIUM) weights audit $R
$(call extra,advise): $R/folds.csv ## what should learn, and on which backbone? cross-validated on a small budget: BACKBONES="a b"
	$(PODIUM) weights advise $R$(if $(call typed,BACKBONES), --backbones $(call typed,BACKBONES))
$(call extra,plan): configure ## time, memory and disk of a run before it is made, and what fits: BUDGET=9h N=1200000 GPUS=4 MACHINES=2
	@$(PODIUM) weights plan $R $(foreach o,budget=BUDGET number=N devices=GPUS machines=MACHINES disk=DISK network=NETWORK,$(call option,$(subst =, ,$o)))
$(call extra,holders): $R/folds.csv # who keeps a finished fold in memory? It trains the next fold and names the variable
	$(PODIUM) holders $R
$(call extra,pseudo): $R/test.json ## the run's sure test predictions as labels for a run with SET="pseudo=RUN": CUT=0.95
	$(PODIUM) pseudo $R$(if $(call typed,CUT), --cut $(call typed,CUT))
$(call extra,ensemble): | $(STAMP) ## blend runs into one more, to its csv: RUNS="a b" NAME=ab, or experiments, made first: EXPS="a b"
	$(if $(call typed,NAME),,$(error ensemble needs a NAME=ab, and RUNS="a b" or EXPS="a b"))@for exp in $(call typed,EXPS); do $(MAKE) --no-print-directory configure EXP=$$exp || exit; done
	$(if $(and $(ON),$(members)),@$(MAKE) --no-print-directory train RUNS="$(strip $(members))")
	@for exp in $(call typed,EXPS); do $(MAKE) --no-print-directory submit EXP=$$exp || exit; done
	$(PODIUM) ensemble runs/$(call typed,NAME) $(call typed,RUNS) $(members)
	$(PODIUM) submit runs/$(call typed,NAME)
$(call extra,compare): | $(STAMP) ## is run B really better than run A? A=run B=run, or as many seeds of each
	$(if $(and $(call typed,A),$(call typed,B)),,$(error compare needs A=run B=run))@$(PODIUM) compare $(addprefix runs/,$(call typed,A)) -- $(addprefix runs/,$(call typed,B))
$(call extra,restore): | $(STAMP) ## take up a run of a session that ended: FROM=folder RUN=name
	@$(PODIUM) restore $R $(call quoted,$(call typed,FROM))
$(call part,kaggle,push): | $(if $(STAMP),$(STAMP)-submit) ## send a run's csv to Kaggle, once: RUN=name MSG="what is new"; LAST=1 also the day's last
	@$(PODIUM) kaggle push $R --message=$(call quoted,$(call typed,MSG))$(if $(call typed,COMP), --slug $(call typed,COMP))$(if $(call typed,LAST), --last)
$(call part,kaggle,push-code): | $(if $(STAMP),$(STAMP)-submit) ## a bundle to Kaggle, as a private data set and a notebook that runs there: RUN=name
	@$(PODIUM) kaggle push-code $R
$(call part,kaggle,pull): | $(if $(STAMP),$(STAMP)-submit) ## the public and private scores from Kaggle into the ledger
	@$(PODIUM) kaggle pull$(if $(call typed,COMP), --slug $(call typed,COMP))
$(call extra,ledger): | $(STAMP) ## all submissions: what the leaderboard adds to OOF, and two final picks: PUBLIC=0.3, its share
	@$(PODIUM) ledger$(if $(call typed,COMP), --comp $(call typed,COMP))$(if $(call typed,PUBLIC), --public $(call typed,PUBLIC))
$(call extra,verify): | $(STAMP) ## are a run's files as they were written, and do they give its score and csv?
	@$(PODIUM) verify $R
$(call extra,sweep): $R/folds.csv | $(if $(STAMP),$(STAMP)-sweep) $(CLUSTERED) ## try settings, each trial a run: TRIALS=20, the space is in src/experiments.py
	$(PODIUM) weights sweep $R$(if $(call typed,SWEEP), --space $(call typed,SWEEP))$(if $(call typed,TRIALS), --trials $(call typed,TRIALS))$(if $(ON), $(ON))
$(call extra,sync): | $(STAMP) ## send what was logged offline to W&B: all runs, or RUN=name
	@$(PODIUM) sync $(if $(filter RUN,$(names)),$R,runs)
$(call extra,watch): | $(if $(STAMP),$(STAMP)-watch) ## the curves of a run in a second terminal while it trains: RUN=name, ONCE=1 draws once
	@$(PODIUM) watch $R$(if $(call typed,ONCE), --once)
$(call extra,report): | $(STAMP) ## a finished run as a page to look at: runs/RUN/report.html
	@$(PODIUM) report $R
$(call extra,board): | $(STAMP) ## all runs as one page: runs/index.html
	@$(PODIUM) board
$(call extra,runs): | $(STAMP) ## all runs as a table, the best first
	@$(PODIUM) runs $(call typed,COMP)
$(call extra,pictures): $(if $(STAMP),$(STAMP)-dev) # the pictures of the documents, from the runs of clothing
	@$(PODIUM) pictures
$(call extra,bundle): $(CSV) ## a run for a code competition without internet: a data set and a notebook in bundles/RUN/
	@$(PODIUM) bundle $R
$(call extra,rehearse): | $(STAMP) ## run that notebook without a network; its csv must equal the local one
	@$(PODIUM) rehearse $R
$(call extra,export): $R/test.json ## a run as one ONNX file, checked against torch, in runs/RUN/export/
	@$(PODIUM) export $R
$(call extra,card): $R/test.json ## one model of a run as a Hugging Face folder that timm loads, with its card: FOLD=0
	@$(PODIUM) card $R$(if $(call typed,FOLD), --fold $(call typed,FOLD))
$(call extra,bench): | $(STAMP) ## the kit against a plain loop, as ratios, 35 minutes: ONLY=head,adamp
	@$(ASK) data weights --backbone tf_efficientnet_lite0 && $(ASK) bench
.PHONY: $(foreach x,sweep sync,$(call extra,$x))
# ---- the kit itself ----
test: $(if $(STAMP),$(STAMP)-dev) ## the tests; sets up what they need
	@$(CLEAN_ENV) $(PY) -m pytest -q -n 2 -m "not slow"
test-all: $(if $(STAMP),$(STAMP)-dev) ## the slow ones too
	@$(CLEAN_ENV) $(PY) -m pytest -q
soak: $(if $(STAMP),$(STAMP)-dev) # kills a tiny run 50 times at random; its files must equal those of a run never killed
	@$(CLEAN_ENV) $(PY) tests/soak_resume.py --kills 50 --pair-kills 50
lint: $(if $(STAMP),$(STAMP)-dev) ## ruff, types, and whether this Makefile suits make 3.81
	$(PY) -m ruff format --check --quiet src tests && $(PY) -m ruff check src tests && $(PY) -m mypy src
	@! grep -nE '[.](ONESHELL|RECIPEPREFIX|SHELLFLAGS|EXTRA_PREREQS|WAIT)|&[:]|[!]=|:[:]=|[$$][(](file|guile|let|intcmp|eval) |^(undefine|private|load) |^define .*=$$' Makefile
CLEANED := $(if $(filter RUN,$(names)),$R,runs)
clean: ## remove runs/ (with RUN=name that run alone); submissions, inputs and weights stay
	$(if $(wildcard $(CLEANED)/*.lock $(CLEANED)/*/*.lock),$(PODIUM) idle $(CLEANED) && )rm -rf $(CLEANED) .pytest_cache .ruff_cache .mypy_cache
clean-cache: ## remove what can be computed again, except what a process is using now: CACHE=folder
	@$(PODIUM) clean-cache $(call quoted,$(if $(value CACHE),$(strip $(value CACHE)),runs/.cache))
