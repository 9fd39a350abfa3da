# The pipeline: one rule per stage, from files to files. GNU make 3.81 (macOS) is enough; `make lint` looks for what that lacks.
#: The same command again does what is left to do, and nothing else. A changed setting makes a new run beside the old one.
#:   make submit                                          the demo, from nothing
#:   make submit COMP=clothing EXP=head                   your files in inputs/clothing/, an experiment of src/experiments.py
#:   make submit COMP=clothing SET="epochs=9 lr=3e-4"     settings of src/config.py; lists: trainable=blocks.5,blocks.6
#: MACHINE="workers=4"  what can't change a score     RUN=name  your own name for the run     FOLD=0  one fold alone, for a quick look
#: INPUTS=folder  where COMP is, up to three levels deep     CACHE=folder  what can be computed again     PY=python  your own environment
#: FORCE=1  call every stage, whatever the file times say     CHECKS=0  no quick checks     GPUS=2  folds side by side, one per GPU
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

# ---- what is asked for ----
SHARED := COMP EXP SET MACHINE RUN INPUTS CACHE
TYPED := FOLD GPUS RUNS NAME ONLY A B BACKBONES CUT CHECKS FORCE FROM
VARIABLES := $(SHARED) $(TYPED)
given = $(filter command environment override,$(firstword $(origin $1)))
# The environment gives SHARED alone: a B or a NAME in someone's shell is theirs. What the command line gives wins over this.
$(foreach v,$(TYPED),$(eval $v :=))
quoted = '$(subst ','\'',$1)'
# A name on the command line that nobody reads is a slip. Python, without any package, says what was meant.
UNKNOWN := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))
UNKNOWN := $(if $(filter 0,$(MAKELEVEL)),$(filter-out $(VARIABLES) PY PYTHON VENV SHELL MAKEFLAGS,$(UNKNOWN)))
PYTHON ?= python3
ask = $(shell $(PYTHON) -m src.variables $(VARIABLES) PY PYTHON VENV -- $(foreach v,$(UNKNOWN) SET MACHINE,$(call quoted,$v=$(value $v))))
$(if $(UNKNOWN),$(error $(or $(ask),there is no variable $(UNKNOWN); choose from $(VARIABLES) PY PYTHON VENV)))
RUN_GIVEN := $(call given,RUN)
# Taken as they are written: a $(shell ...) in a value would run when make expands or exports it. strip also makes line ends spaces.
$(foreach v,$(VARIABLES),$(if $(call given,$v),$(eval override $v := $$(strip $$(value $v)))))

empty :=
space := $(empty) $(empty)
comma := ,
DIGITS := 0 1 2 3 4 5 6 7 8 9
SAFE := a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z $(DIGITS) . _ = - $(comma)
# $1 without the characters $2
without = $(if $2,$(call without,$(subst $(firstword $2),,$1),$(wordlist 2,99,$2)),$1)
unsafe = $(call without,$1,$(SAFE))$(findstring ..,$1)
name_rule := can't be a name: use letters, digits and . _ = - $(comma) (a letter or digit first, no ..)
# $1 with a space after each of the characters $2: its characters as words, to count them
spread = $(if $2,$(call spread,$(subst $(firstword $2),$(firstword $2) ,$1),$(wordlist 2,99,$2)),$1)
longer = $(word $1,$(call spread,$2,$(SAFE)))
base = $(notdir $(patsubst %/,%,$1))
instead = $(if $(findstring /,$2),: write $1=$(call base,$2)$(if $(filter COMP,$1), INPUTS=$(patsubst %/$(call base,$2),%,$(patsubst %/,%,$2))))
check_name = $(if $(call unsafe,$2)$(filter .% _% =% -% $(comma)%,$2)$(if $2,,none),$(error $1=$2 $(name_rule)$(instead)))
check_name += $(if $(call longer,121,$2),$(error $1=$2 is too long for a name: use at most 120 characters))
$(foreach v,COMP EXP RUN NAME ONLY,$(if $(call given,$v),$(call check_name,$v,$($v))))$(foreach list,RUNS A B,$(foreach one,$($(list)),$(call check_name,$(list),$(one))))
# gem:resnet18 is an own backbone and the timm model inside
$(foreach one,$(subst :, ,$(BACKBONES)),$(call check_name,BACKBONES,$(one)))
$(foreach v,FOLD GPUS,$(if $(call without,$($v),$(DIGITS)),$(error $v=$($v) must be a whole number)))
$(if $(call without,$(CUT),$(DIGITS) .),$(error CUT=$(CUT) must be a number such as 0.95))

INPUTS ?= inputs
SMOKE := $(filter smoke,$(MAKECMDGOALS))
REMEMBERS := $(if $(SMOKE),,$(and $(RUN_GIVEN),$(wildcard runs/$(RUN)/config.json)))
# A run that is called by its name remembers its COMP, EXP and SET: what is not given is left to src.config.
ifeq ($(REMEMBERS),)
COMP ?= demo
EXP ?= $(if $(filter demo,$(COMP)),demo,baseline)
SET ?=
endif
ifneq ($(SMOKE),)
override SET := limit=200 folds=2 epochs=1 $(filter-out limit=% folds=% epochs=%,$(SET))
override RUN := $(COMP)-smoke
endif
# The run's name tells its SET, or a checksum where that is long or has other characters (then quoted: the shell only hands it on).
in_name = $(if $(strip $(unsafe))$(word 9,$1)$(call longer,101,$(COMP)-$(EXP)-$1),$(shell printf %s $(quoted) | cksum | cut -d' ' -f1),$(subst $(space),-,$1))
RUN ?= $(COMP)-$(EXP)$(if $(SET),-$(call in_name,$(SET)))
override RUN := $(RUN)
R := runs/$(RUN)
export $(foreach v,$(VARIABLES),$(if $(call given,$v),$v))

# ---- which python: the venv's, yours (PY=python), or on Kaggle and Colab theirs, whose torch is never replaced ----
VENV ?= .venv
PY_GIVEN := $(call given,PY)
HOSTED := $(if $(wildcard $(VENV)/bin/python),,$(KAGGLE_KERNEL_RUN_TYPE)$(COLAB_RELEASE_TAG)$(wildcard /kaggle /content))
PY ?= $(if $(HOSTED),$(PYTHON),$(VENV)/bin/python)
STAMP := $(if $(PY_GIVEN),,$(if $(HOSTED),.hosted-stamp,$(VENV)/.stamp))
DEV := $(if $(STAMP),$(STAMP)-dev)
PIP := -m pip install --quiet --disable-pip-version-check

begin = $(eval DONE := yes)
end = @$(if $(DONE),:,echo "nothing to do: $1")
setting = $$(sed -n 's/^ *"$1": "*\([^",]*\).*/\1/p' $(R)/train.json)
weights = $(PY) -m src.fetch weights "$(call setting,backbone)"
lite_weights = case "$(call setting,pretrained) $(call setting,backbone)" in "true "*tf_efficientnet_lite[012]) $(weights);; esac
EXTRAS := $(foreach x,doctor audit report,$(if $(wildcard src/extras/$x src/extras/$x.py),$x))
quick = $(if $(filter 0,$(CHECKS)),,$(filter $1,$(EXTRAS)))
AND_SUBMIT := $(if $(filter submit smoke,$(MAKECMDGOALS)), + submit)
# The quick checks, then the stages $1, all that need torch in one process.
chain = $(if $(call quick,audit),$(PY) -m src.extras.audit $(R) --quick --quiet && )$(PY) -m src.chain $(R) $(if $(call quick,doctor),doctor --quick --quiet + )$1
clean_env = unset $(VARIABLES) MAKEFLAGS MAKELEVEL MFLAGS; OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}
ALWAYS := $(if $(FORCE),always)
RETIRE := $(if $(filter retrain,$(MAKECMDGOALS)),retire)
# What is still to be fetched or unpacked. INPUTS may hold a space or a colon, so it is part of no target.
at = $(wildcard $(subst $(space),\ ,$(INPUTS))/$1)
DATA := $(if $(filter demo,$(COMP)),$(if $(call at,demo/train.csv),,fetch-demo),$(if $(call at,$(COMP)),,$(if $(call at,$(COMP).zip),unpack-all)))
PACKED := $(if $(call at,$(COMP)/*.zip),$(shell for zip in $(call quoted,$(INPUTS)/$(COMP))/*.zip; do [ -e "$${zip%.zip}" ] || echo packed; done))
DATA := $(strip $(DATA) $(if $(PACKED),unpack))
.PHONY: fetch-demo unpack-all unpack help setup data weights config split train submit smoke layers retrain retire pseudo holders advise ensemble compare restore verify bench test test-all soak lint clean always $(EXTRAS)

help: ## this screen
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-9s %s\n", $$1, $$2}'
	@for x in $(EXTRAS); do printf "  make %-9s %s\n" $$x "$$(sed -n '1{s/^"""C/c/;s/[.:] .*//p;}' src/extras/$$x/__main__.py 2>/dev/null)"; done; echo; sed -n 's/^#: /  /p' Makefile

setup: $(STAMP) ## a virtual environment in .venv with everything in it; nothing is installed twice
	$(call end,$(PY) is ready)
$(VENV)/.stamp: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup needs Python 3.11 or newer: make setup PYTHON=python3.12"; exit 2; }
	@$(begin)echo "setup 1/3: a virtual environment in $(VENV)" && $(PYTHON) -m venv $(VENV)
	@echo "setup 2/3: torch, the large part (some GB, once; minutes)" && $(VENV)/bin/python $(PIP) torch torchvision -c constraints.txt
	@echo "setup 3/3: the rest of requirements.txt" && $(VENV)/bin/python $(PIP) -r requirements.txt -c constraints.txt
	@touch $@
.hosted-stamp: requirements-kaggle.txt
	@$(begin)echo "setup: torch is here already and stays; adding what is missing" && $(PY) $(PIP) -r requirements-kaggle.txt
	@touch $@
ifneq ($(STAMP),)
$(DEV): requirements-dev.txt $(STAMP)
	@echo "setup: what the tests need" && $(PY) $(PIP) -r requirements-dev.txt $(if $(HOSTED),,-c constraints.txt)
	@touch $@
endif

data: $(STAMP) $(DATA) ## the demo's data into inputs/demo; unpacks inputs/COMP.zip
	@[ -e $(call quoted,$(INPUTS)/$(COMP)) ] && echo $(call quoted,$(INPUTS)/$(COMP) is there) || \
	echo "put train.csv, sample_submission.csv and the images into" $(call quoted,$(INPUTS)/$(COMP)/)", or a link to them"
fetch-demo: | $(STAMP)
	$(begin)$(PY) -m src.fetch demo $(call quoted,$(INPUTS)/demo)
unpack-all: | $(STAMP)
	$(begin)$(PY) -m src.fetch archive $(call quoted,$(INPUTS)/$(COMP).zip) $(call quoted,$(INPUTS)/$(COMP))
unpack: | $(STAMP)
	$(begin)$(PY) -m src.fetch archives $(call quoted,$(INPUTS)/$(COMP))
weights: config ## the pretrained weights of the run's backbone into weights/
	@$(weights)

# Each json is rewritten only when its settings change, so everything below re-runs exactly when it should.
config: | $(STAMP) $(DATA)
	@$(PY) -m src.run.configure $(R)
$(R)/split.json $(R)/train.json $(R)/predict.json $(R)/submit.json: config ;

split: $(R)/folds.csv ## each image into a fold: runs/RUN/folds.csv
	$(call end,$< is up to date)
$(R)/folds.csv: $(R)/split.json $(ALWAYS)
	$(begin)$(if $(ALWAYS),,[ $@ -nt $< ] || )$(PY) -m src.split $(R)

# The stages write whole files, so a stop must not make make remove one: the score is finished while the predictions are not.
.PRECIOUS: $(R)/folds.csv $(R)/score.json $(R)/test.json submissions/$(RUN).csv
# score.json is written last, so make need watch nothing else of a training.
$(R)/score.json: $(R)/train.json $(R)/folds.csv $(RETIRE) $(ALWAYS)
	@$(lite_weights)
	$(begin)$(eval CHAINED := predict$(AND_SUBMIT))$(call chain,train$(if $(GPUS), --gpus $(GPUS)) + $(CHAINED))
# test.json is written after test.parquet, the mean of all models.
$(R)/test.json: $(R)/predict.json $(R)/score.json $(ALWAYS)
	$(begin)$(if $(CHAINED),@:,$(eval CHAINED := predict$(AND_SUBMIT))$(PY) -m src.chain $(R) $(CHAINED))
submissions/$(RUN).csv: $(R)/submit.json $(R)/test.json $(ALWAYS)
	$(begin)$(if $(filter submit,$(CHAINED)),@:,$(PY) -m src.submit $(R))

ifeq ($(FOLD),)
train: $(R)/score.json $(R)/test.json ## every unfinished fold, then the score and the test predictions
	$(call end,$< is up to date)
submit: submissions/$(RUN).csv ## the whole chain to submissions/RUN.csv, checked
	$(call end,$< is up to date)
else
train: $(R)/train.json $(R)/folds.csv $(RETIRE)
	$(call chain,train --fold $(FOLD))
# The products have the fold in their names: fold0/test.parquet, submissions/RUN.fold0.csv.
submit: $(R)/predict.json $(R)/submit.json $(R)/train.json $(R)/folds.csv
	$(call chain,train --fold $(FOLD) + predict --fold $(FOLD) + submit --fold $(FOLD))
endif
smoke: submit ## a first look at your data: 200 images, 2 folds, 1 epoch, to a csv
layers: config ## the layer groups by number: what trainable=N means
	@$(PY) -m src.extras.layers $(R)
retrain: train ## train the folds again whose code has changed; the old ones are kept in runs/RUN/old
retire: config
	@$(PY) -m src.run.reuse retire $(R)
ifneq ($(wildcard src/extras/advise.py),)
advise: $(R)/folds.csv ## what should learn, and on which backbone? cross-validated on a small budget: BACKBONES="a b"
	@$(lite_weights)
	@$(foreach lite,$(filter tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2,$(subst :, ,$(BACKBONES))),$(PY) -m src.fetch weights $(lite) &&) :
	$(PY) -m src.extras.advise $(R) $(BACKBONES)
endif
ifneq ($(wildcard src/extras/holders.py),)
holders: $(R)/folds.csv  # who keeps a finished fold in memory? Trains the next fold and names the variable
	$(PY) -m src.extras.holders $(R)
endif
ifneq ($(wildcard src/extras/pseudo.py),)
pseudo: $(R)/test.json ## the run's sure test predictions as labels for a run with SET="pseudo=RUN": CUT=0.95
	$(PY) -m src.extras.pseudo $(R)$(if $(CUT), --cut $(CUT))
endif
ifneq ($(wildcard src/extras/ensemble*),)
ensemble: | $(STAMP) ## blend finished runs into one more, to its csv: RUNS="a b" NAME=ab
	$(if $(NAME),,$(error ensemble needs RUNS="a b" NAME=ab))$(PY) -m src.extras.ensemble runs/$(NAME) $(RUNS)
	$(PY) -m src.submit runs/$(NAME)
endif
ifneq ($(wildcard src/extras/compare.py),)
compare: | $(STAMP) ## is run B really better than run A? A=run B=run, or as many seeds of each
	@$(if $(and $(A),$(B)),,$(error compare needs A=run B=run))$(PY) -m src.extras.compare $(addprefix runs/,$(A)) -- $(addprefix runs/,$(B))
endif
ifneq ($(wildcard src/extras/restore.py),)
restore: | $(STAMP) ## take up a run of a session that ended: FROM=folder RUN=name
	@$(PY) -m src.extras.restore $(R) $(call quoted,$(FROM))
endif
ifneq ($(wildcard src/extras/verify.py),)
verify: | $(STAMP) ## are a run's files as they were written, and do they give its score and csv?
	@$(PY) -m src.extras.verify $(R)
endif
ifneq ($(wildcard src/extras/bench),)
bench: $(DATA) | $(STAMP) ## the kit against a plain loop, as ratios, 35 minutes: ONLY=head,adamp
	@$(PY) -m src.fetch weights tf_efficientnet_lite0
	@$(if $(filter file,$(origin COMP)),unset COMP;) $(PY) -m src.extras.bench
endif
ifneq ($(EXTRAS),)
$(EXTRAS): $(R)/folds.csv
	@$(lite_weights)
	$(PY) -m src.extras.$@ $(R)
endif

test: $(DEV) ## the tests; sets up what they need
	@$(clean_env) $(PY) -m pytest -q -n 2 -m "not slow"
test-all: $(DEV) ## the slow ones too
	@$(clean_env) $(PY) -m pytest -q
# A tiny run is killed 50 times at random; what comes out is compared byte by byte with a run never killed.
soak: $(DEV)
	@$(clean_env) $(PY) tests/soak_resume.py --kills 50 --pair-kills 50
lint: $(DEV) ## ruff, types, and whether this Makefile suits make 3.81
	$(PY) -m ruff format --check --quiet src tests
	$(PY) -m ruff check src tests
	$(PY) -m mypy src
	@! grep -nE '[.](ONESHELL|RECIPEPREFIX|SHELLFLAGS|EXTRA_PREREQS|WAIT)|&[:]|[!]=|:[:]=|[$$][(](file|guile|let|intcmp) |^(undefine|private|load) |^define .*=$$' Makefile
CLEANED := $(if $(RUN_GIVEN),$(R),runs)
clean: ## remove runs/ (with RUN=name that run alone); submissions, inputs and weights stay
	$(if $(wildcard $(CLEANED)/*.lock $(CLEANED)/*/*.lock),$(PY) -m src.run.reuse idle $(CLEANED) && )rm -rf $(CLEANED) .pytest_cache .ruff_cache .mypy_cache
clean-cache: ## remove what can be computed again, except what a process is using now: CACHE=folder
	@$(PY) -m src.data.cache clear $(call quoted,$(if $(CACHE),$(CACHE),runs/.cache))
