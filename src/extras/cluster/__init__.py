"""CLUSTER=, which needs ray."""

from importlib.util import find_spec

if find_spec("ray") is None:
    raise ValueError("CLUSTER= needs ray, which is not installed: pip install -r requirements-cluster.txt")
