"""Folds: groups stay whole, classes are spread, rare ones always train; and what is wrong is named."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from src.competition.tables import read_csv
from src.data.folds import SCHEMES, assign, check, fold_hash

SPREADING = [name for name in SCHEMES if name != "file"]


def make_config(num_folds: int = 5, scheme: str = "auto", seed: int = 0) -> SimpleNamespace:
    return SimpleNamespace(folds=num_folds, fold_scheme=scheme, fold_seed=seed)


def make_table(labels, **columns) -> pd.DataFrame:
    ids = [f"{i:05d}.jpg" for i in range(len(labels))]
    return pd.DataFrame({"id": ids, "row": ids, "path": ids, "label": labels, "group": ids} | columns)


def assign_labels(table: pd.DataFrame, **config) -> pd.Series:
    return assign(table, make_config(**config), task="multiclass", targets=("label",))


# -- for any table: either a clear error, or folds that hold all promises


@st.composite
def tables(draw) -> pd.DataFrame:
    """Small tables with everything at once: few or many classes, several images per row, groups, unknown
    groups, duplicates.
    """
    num = draw(st.integers(4, 60))

    def a_few(most: int):
        return st.lists(st.integers(0, draw(st.integers(1, most))), min_size=num, max_size=num)

    table = make_table([f"class {c}" for c in draw(a_few(6))])
    if draw(st.booleans()):
        table["row"] = [f"row {r}" for r in draw(a_few(num))]
    table["group"] = (
        [f"person {g}" if g else "" for g in draw(a_few(num))] if draw(st.booleans()) else table["row"]
    )
    if draw(st.booleans()):
        table["content"] = [f"{c:x}" for c in draw(a_few(3 * num))]
    return table


@settings(max_examples=300, deadline=None)
@given(tables(), st.integers(2, 6), st.sampled_from(SPREADING), st.integers(0, 3))
def test_any_table_gets_folds_that_hold_or_one_clear_error(table, num_folds, scheme, seed):
    config = make_config(num_folds, scheme, seed)
    try:
        fold = assign(table, config, task="multiclass", targets=("label",))
    except ValueError as error:
        assert any(words in str(error) for words in ("no class with enough", "is empty", "held out whole"))
        return
    assert fold.index.equals(table.index) and set(fold) - {-1} == set(range(num_folds))
    for column in {"row", "group", "content"} & set(table):
        known = table[column] != ""
        assert (fold[known].groupby(table[column][known]).nunique() == 1).all()
    for k in range(num_folds):
        assert set(table["label"][fold != k]) == set(table["label"])
    # the order in which the files were listed does not matter
    mixed = table.sample(frac=1, random_state=seed)
    assert (
        assign(mixed, config, task="multiclass", targets=("label",)).loc[table.index].tolist()
        == fold.tolist()
    )


@settings(max_examples=100, deadline=None)
@example([0, 0, 2, 3, 0, 0, 2, 2, 2, 3, 3, 1, 0, 2, 1, 1, 1, 1], 3)  # three classes of equal size
@given(st.lists(st.integers(0, 8), min_size=6, max_size=80), st.integers(2, 5))
def test_single_images_are_dealt_out_evenly(classes, num_folds):
    table = make_table([str(c) for c in classes])
    counts = table["label"].value_counts()
    assume(counts.max() >= num_folds)
    fold = assign_labels(table, num_folds=num_folds)
    # exactly the rare ones
    assert set(table["label"][fold == -1]) == set(counts.index[counts < num_folds])
    for _, scored in fold[fold >= 0].groupby(table["label"]):
        assert np.ptp(np.bincount(scored, minlength=num_folds)) <= 1
    assert np.ptp(np.bincount(fold[fold >= 0])) <= 1


@settings(max_examples=100, deadline=None)
@example(2, 10, 20, 970)  # both images of a label were in one fold
@given(st.integers(2, 5), st.integers(1, 12), st.integers(20, 80), st.integers(0, 1000))
def test_several_labels_per_image_are_spread_too(num_folds, num_labels, num_images, seed):
    rng = np.random.default_rng(seed)
    marks = rng.random((num_images, num_labels)) < rng.uniform(0.02, 0.6, num_labels)
    targets = tuple(f"label {t}" for t in range(num_labels))
    table = make_table([""] * num_images).assign(
        **{name: marks[:, t].astype(int).astype(str) for t, name in enumerate(targets)}
    )
    assume(marks.sum(axis=0).max() >= num_folds)
    fold = assign(table, make_config(num_folds), task="multilabel", targets=targets)
    for t, name in enumerate(targets):
        if 0 < marks[:, t].sum() < num_folds:
            assert (fold[table[name] == "1"] == -1).all()
    for k in range(num_folds):
        assert (marks[fold != k].any(axis=0) == marks.any(axis=0)).all()


def test_images_whose_labels_are_all_rare_beside_another_are_refused_in_words():
    """It ended in an IndexError."""
    table = make_table([""] * 8).assign(often="1", rare=["1", "0"] * 4, odd=["0", "1"] * 4)
    with pytest.raises(
        ValueError, match="each of the labelled has a label that is rarer, too, such as 'rare'"
    ):
        assign(table, make_config(5), task="multilabel", targets=("often", "rare", "odd"))


# -- what matters in particular


def test_a_person_with_many_photographs_is_in_one_fold_and_the_classes_stay_even():  # B22
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(300), rng.integers(1, 20, 300))
    label = (rng.random(300) < 0.1)[person] ^ (rng.random(len(person)) < 0.05)
    table = make_table(label.astype(int).astype(str), group=[f"person {p}" for p in person])
    fold = assign_labels(table)
    assert (fold.groupby(table["group"]).nunique() == 1).all()
    shares = pd.Series(label).groupby(fold).mean()
    assert shares.max() - shares.min() < 0.01
    assert fold.value_counts().max() - fold.value_counts().min() < 20


def test_large_mixed_groups_are_spread_as_evenly_as_by_scikit_learn():
    from sklearn.model_selection import StratifiedGroupKFold

    def unevenness(label: np.ndarray, fold: np.ndarray) -> float:
        return float(pd.crosstab(label, fold, normalize="index").std(axis=1).mean())

    ours, theirs = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        hospital = np.repeat(np.arange(25), rng.integers(5, 100, 25))
        mix = rng.dirichlet(np.ones(4), 25)
        label = np.array([rng.choice(4, p=mix[h]) for h in hospital])
        ours.append(
            unevenness(
                label,
                assign_labels(
                    make_table(label.astype(str), group=[f"hospital {h}" for h in hospital])
                ).to_numpy(),
            )
        )
        fold = np.zeros(len(label), int)
        for k, (_, held_out) in enumerate(
            StratifiedGroupKFold(5, shuffle=True, random_state=0).split(label, label, hospital)
        ):
            fold[held_out] = k
        theirs.append(unevenness(label, fold))
    assert np.mean(ours) <= np.mean(theirs), (ours, theirs)


def test_identical_pictures_are_in_one_fold_through_any_chain():
    content = [f"{i}" for i in range(40)]
    # 3 = 17 = 30 in content, and 30's person also has image 9
    content[3], content[30] = content[17], content[17]
    group = [f"person {i}" for i in range(40)]
    group[9] = group[30]
    table = make_table(["a", "b"] * 20, group=group, content=content)
    fold = assign_labels(table)
    assert fold[[3, 17, 30, 9]].nunique() == 1
    with pytest.raises(ValueError, match=r"00003.jpg \(fold \d\).*must be in one fold"):
        check(
            table.assign(fold=fold.where(fold.index != 3, (fold[3] + 1) % 5)),
            make_config(),
            ("label",),
            task="multiclass",
        )


def test_four_images_of_one_row_are_in_one_fold():
    row = [f"patient {i // 4}" for i in range(80)]
    fold = assign_labels(make_table([str(i // 4 % 2) for i in range(80)], row=row, group=row))
    assert (fold.groupby(row).nunique() == 1).all() and (fold.value_counts() == 16).all()


def test_unknown_persons_are_not_one_person():
    fold = assign_labels(make_table(list("ab") * 20, group=["", ""] + ["person 1", "person 1"] + [""] * 36))
    assert fold.value_counts().tolist() == [8] * 5 and fold[2] == fold[3]


def test_at_most_ten_values_of_a_regression_are_classes_of_their_own():
    table = make_table([str(value) for value in [0.0] * 60 + [1.0] * 20 + [2.5] * 10 + [7.0] * 5 + [9.0] * 5])
    fold = assign(table, make_config(), task="regression", targets=("label",))
    counts = pd.crosstab(table["label"], fold)
    assert counts.to_numpy().tolist() == [[n] * 5 for n in (12, 4, 2, 1, 1)]


def test_a_class_in_fewer_groups_than_folds_always_trains_and_is_named(capsys):
    """Ten photographs of the only dodo are ten images, but one group: they cannot be in every training part
    otherwise.
    """
    labels = ["cat", "dog"] * 20 + ["dodo"] * 10 + ["emu"] * 2
    group = [f"animal {i}" for i in range(40)] + ["the dodo"] * 10 + ["emu 1", "emu 2"]
    fold = assign_labels(make_table(labels, group=group))
    assert (fold[40:] == -1).all() and (fold[:40] >= 0).all()
    told = capsys.readouterr().err
    assert "'dodo' (1)" in told and "'emu' (2)" in told and "12 images" in told and "cat" not in told


def test_values_are_spread_by_their_size():
    values = np.random.default_rng(0).exponential(10, 500)
    table = make_table([f"{value:.3f}" for value in values])
    fold = assign(table, make_config(), task="regression", targets=("label",))
    means = pd.Series(values).groupby(fold).mean()
    assert (fold.value_counts() == 100).all() and means.max() - means.min() < 1
    constant = make_table(["1.0"] * 20)
    assert (assign(constant, make_config(), task="regression", targets=("label",)).value_counts() == 4).all()


def test_another_seed_gives_other_folds_and_the_same_seed_the_same():
    table = make_table(list("ab") * 50)
    first, again, other = (assign_labels(table, seed=seed) for seed in (0, 0, 1))
    assert first.equals(again) and not first.equals(other)


# -- folds made by hand


def make_given(table: pd.DataFrame) -> pd.Series:
    return pd.Series([str(i % 5) for i in range(len(table))], index=table["id"].rename("id"), name="fold")


def assign_given(table: pd.DataFrame, by_id: pd.Series | None, num_folds: int = 5) -> pd.Series:
    return assign(table, make_config(num_folds, "file"), task="multiclass", targets=("label",), given=by_id)


def test_a_hand_made_file_is_taken_as_it_is_in_any_order_and_may_hold_more():
    table = make_table(["a"] * 10 + ["b"] * 10)
    by_id = make_given(table)
    by_id.iloc[0] = "-1"
    longer = pd.concat([by_id[::-1], pd.Series({"another.jpg": "3"})])
    assert assign_given(table, longer).tolist() == [-1, 1, 2, 3, 4, *[i % 5 for i in range(5, 20)]]


def test_what_is_wrong_with_a_hand_made_file_is_named():
    table = make_table(["a"] * 10 + ["b"] * 10)
    by_id = make_given(table)
    with pytest.raises(ValueError, match="needs folds.csv with the columns id and fold"):
        assign_given(table, None)
    with pytest.raises(ValueError, match=r"no whole number.* 2 images: 00003.jpg, 00007.jpg"):
        assign_given(
            table, by_id.drop("00003.jpg").replace({"2": "2"}).where(lambda s: s.index != "00007.jpg", "1.5")
        )
    with pytest.raises(ValueError, match="00003.jpg twice"):
        assign_given(table, pd.concat([by_id, by_id[3:4]]))
    with pytest.raises(ValueError, match="folds=6, but fold 5 is empty"):
        assign_given(table, by_id, num_folds=6)
    with pytest.raises(ValueError, match="folds=4, but 00004.jpg is in none"):
        assign_given(table, by_id, num_folds=4)
    with pytest.raises(ValueError, match=r"never sees it: 'b' \(fold 3\)"):
        assign_given(
            make_table(["a"] * 19 + ["b"]).iloc[[*range(18), 19]],
            by_id.where(by_id.index != "00019.jpg", "3"),
        )


# -- the check and the hash


def test_check_names_each_broken_promise_at_once():
    table = make_table(["a"] * 10 + ["b"] * 10, group=[f"person {i // 2}" for i in range(20)]).assign(
        fold=[i // 2 % 5 for i in range(20)]
    )
    check(table, make_config(), ("label",), task="multiclass")
    broken = pd.concat([table, table.tail(1)], ignore_index=True)
    broken.loc[0, "fold"] = 7  # also tears person 0 apart
    broken.loc[broken["label"] == "b", "fold"] = 2
    broken.loc[broken["fold"] == 3, "fold"] = 0
    with pytest.raises(ValueError) as error:
        check(broken, make_config(), ("label",), task="multiclass")
    for words in (
        "00019.jpg stands there twice",
        "fold 3 is empty",
        "00000.jpg is in none",
        "00000.jpg (fold 7), 00001.jpg (fold 0) must be in one fold",
        "'b' (fold 2)",
    ):
        assert words in str(error.value)


def test_errors_say_what_to_do():
    with pytest.raises(
        ValueError, match=r"no class with enough images for folds=5 \(the most, 'a', has 3\): use fewer folds"
    ):
        assign_labels(make_table(list("aaabbc")))
    with pytest.raises(ValueError, match=r"no class with enough groups for folds=5 \(the most, 'a', has 4\)"):
        assign_labels(make_table(["a"] * 40, group=[f"person {i % 4}" for i in range(40)]))
    with pytest.raises(ValueError, match="'kfold' is unknown; choose from auto, stratified"):
        assign_labels(make_table(["a"] * 40), scheme="kfold")


def test_the_fold_hash_depends_on_the_folds_and_not_on_the_order_of_lines():
    table = make_table(list("ab") * 10)
    table["fold"] = assign_labels(table)
    first = fold_hash(table, ("label",))
    assert len(first) == 16
    assert fold_hash(table.sample(frac=1, random_state=0), ("label",)) == first
    assert fold_hash(table.assign(path="elsewhere", extra="x"), ("label",)) == first
    changes = {
        "fold": (table["fold"] + 1) % 5,
        "label": table["label"][::-1].to_numpy(),
        "group": "one",
        "id": table["id"] + "x",
    }
    for column, value in changes.items():
        assert fold_hash(table.assign(**{column: value}), ("label",)) != first


def test_the_same_table_has_these_folds_on_every_machine():
    """Folds that differ between a laptop and a notebook cannot be blended. The numbers are what the code gave
    when it was written.
    """
    table = make_table([str(i % 3) for i in range(15)], group=[f"person {i // 2}" for i in range(15)])
    assert assign_labels(table, num_folds=3).tolist() == [1, 1, 2, 2, 0, 0, 2, 2, 0, 0, 1, 1, 0, 0, 1]


@pytest.mark.slow
def test_a_million_rows_are_read_shared_out_and_checked(tmp_path):
    (tmp_path / "train.csv").write_text(
        "id,label\n" + "\n".join(f"{i:07},{i % 10}" for i in range(1_000_000))
    )
    table = read_csv(tmp_path / "train.csv")
    fold = assign_labels(table.assign(row=table["id"], group=table["id"]))
    assert table["id"].iloc[7] == "0000007" and fold.value_counts().tolist() == [200_000] * 5
