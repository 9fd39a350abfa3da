"""What goes in by id comes out by id."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.run import predictions

IDS = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=20, unique=True)


def frame(ids, seed=0, columns=("a", "b")):
    values = np.random.default_rng(seed).random((len(ids), len(columns)))
    return predictions.make(ids, values / values.sum(axis=1, keepdims=True), columns)


@given(ids=IDS, data=st.data())
@settings(deadline=None)
def test_the_mean_is_by_id_whatever_the_order(ids, data):
    one, two = frame(ids), frame(ids, 1)
    shuffled = two.loc[data.draw(st.permutations(ids))]
    mean = predictions.mean([one, shuffled])
    for i in ids:
        assert np.allclose(mean.loc[i], (one.loc[i] + two.loc[i]) / 2, atol=1e-6)


@given(ids=IDS)
@settings(deadline=None, max_examples=30)
def test_a_file_gives_back_what_was_written(ids, tmp_path_factory):
    path = tmp_path_factory.mktemp("p") / "p.parquet"
    predictions.write(frame(ids), path)
    read = predictions.read(path)
    assert read.loc[ids].equals(frame(ids)) and read.index.name == "id" and (read.dtypes == np.float32).all()


def test_differing_ids_and_columns_are_refused():
    with pytest.raises(ValueError, match="1 missing"):
        predictions.mean([frame(["1", "2"]), frame(["1", "3"])])
    with pytest.raises(ValueError, match="differing columns"):
        predictions.mean([frame(["1"]), frame(["1"], columns=("a", "c"))])


@pytest.mark.parametrize(
    ("ids", "message"),
    [(["1", "1", "2"], "stand twice"), (["1"], "1 missing"), (["1", "2", "9"], "not asked for")],
)
def test_every_id_once_or_an_error(ids, message):
    with pytest.raises(ValueError, match=message):
        predictions.check_ids(frame(ids), ["1", "2"])


def test_what_is_not_finite_or_no_probability_is_refused():
    bad = frame(["1", "2"])
    bad.loc["2", "a"] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        predictions.check(bad)
    with pytest.raises(ValueError, match="miss 1"):
        predictions.check(frame(["1"]) * 2, kind="probability", single_label=True)


def test_the_rank_mean_reads_only_the_order():
    one = predictions.make(["1", "2", "3"], [[0.1], [0.2], [0.9]], ["a"])
    two = predictions.make(["1", "2", "3"], [[0.001], [0.002], [0.003]], ["a"])
    assert predictions.rank_mean([one, two])["a"].tolist() == [0.0, 0.5, 1.0]


def test_pooling_joins_the_images_of_a_row():
    four = predictions.make(["a", "b", "c", "d"], [[0.1], [0.3], [0.8], [0.6]], ["p"])
    rows = pd.Series({"d": "y", "a": "x", "b": "x", "c": "y"})
    assert predictions.pool(four, rows, "mean")["p"].to_dict() == pytest.approx({"x": 0.2, "y": 0.7})
    assert predictions.pool(four, rows, "max")["p"].to_dict() == pytest.approx({"x": 0.3, "y": 0.8})
    assert predictions.pool(four, rows, lambda images: images.min())["p"].to_dict() == pytest.approx(
        {"x": 0.1, "y": 0.6}
    )
