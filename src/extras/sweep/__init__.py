"""make sweep, which needs optuna."""

from importlib.util import find_spec

if find_spec("optuna") is None:
    raise ValueError("a sweep needs optuna, which is not installed: pip install -r requirements-sweep.txt")
