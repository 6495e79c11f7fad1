"""The classifier with nothing given but texts and labels: what it chooses, keeps, and says of new texts."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from scipy.special import softmax
from sklearn.model_selection import KFold, PredefinedSplit

import fastplr
from fastplr import Embedder, InputError, PLRClassifier, fitting
from fastplr.demo import load_demo
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel


@pytest.fixture(scope="module")
def auto(tiny_llama: TinyModel) -> PLRClassifier:
    """Fitted on 60 texts of three classes, by defaults."""
    train, labels, _ = train_and_test(3, n_train=60)
    return fastplr.fit(train, labels, model=tiny_llama.path)


def test_the_choice_is_the_best_of_the_candidates_and_all_that_is_used(
    auto: PLRClassifier, tiny_llama: TinyModel
) -> None:
    train, labels, test = train_and_test(3, n_train=60)
    candidates = auto.report_["candidates"]
    assert {(one["layer"], one["pooling"]) for one in candidates} == {
        (layer, pooling) for layer in (1, 2, 3) for pooling in ("mean", "mean_all")
    }
    best = candidates[0]
    assert (auto.layer_, auto.pooling_, auto.C_) == (best["layer"], best["pooling"], best["C"])
    assert best["log_loss"] == min(one["log_loss"] for one in candidates if one["confirmed"])
    # The same as a classifier that is given what was chosen.
    given = fastplr.fit(
        train, labels, model=tiny_llama.path, layer=auto.layer_, pooling=auto.pooling_, C=auto.C_, calibrate=False
    )
    np.testing.assert_allclose(given.decision_function(test), auto.decision_function(test), atol=1e-5)


def test_probabilities_are_the_logits_over_the_temperature(auto: PLRClassifier) -> None:
    _, _, test = train_and_test(3, n_train=60)
    assert auto.temperature_ != 1.0
    expected = softmax(auto.decision_function(test) / auto.temperature_, axis=1)
    np.testing.assert_allclose(auto.predict_proba(test), expected, atol=1e-12)


def test_a_prior_shifts_probabilities_and_nothing_else(auto: PLRClassifier, tiny_llama: TinyModel) -> None:
    train, labels, test = train_and_test(3, n_train=60)
    prior = {"complaint": 0.9, "fraud": 0.05, "service": 0.05}
    told = fastplr.fit(train, labels, model=tiny_llama.path, class_prior=prior)
    np.testing.assert_array_equal(told.decision_function(test), auto.decision_function(test))
    odds = told.predict_proba(test) / auto.predict_proba(test)
    ratio = np.array([share / labels.count(label) for label, share in prior.items()])
    np.testing.assert_allclose(odds / odds[:, :1], np.tile(ratio / ratio[0], (len(test), 1)))


def test_prediction_stops_at_the_chosen_layer(tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels, _ = train_and_test(2)
    classifier = fastplr.fit(train, labels, model=tiny_llama.path, max_layer=0.25)
    assert classifier.layer_ == 1
    asked: list[Any] = []
    counted = Embedder._embed_counted

    def recorded(self: Embedder, texts: Any, layers: Any, pooling: Any, out: Any) -> Any:
        asked.append((layers, pooling))
        return counted(self, texts, layers, pooling, out)

    monkeypatch.setattr(Embedder, "_embed_counted", recorded)
    classifier.predict(["a text that was never seen"])
    assert asked == [(1, classifier.pooling_)]


def test_speed_takes_a_layer_no_deeper(auto: PLRClassifier, tiny_llama: TinyModel) -> None:
    train, labels, _ = train_and_test(3, n_train=60)
    quick = fastplr.fit(train, labels, model=tiny_llama.path, speed=True)
    assert quick.layer_ <= auto.layer_
    by_layer = {one["layer"]: one for one in quick.report_["candidates"]}
    assert set(by_layer) == {1, 2, 3}


def test_an_encoder_has_one_mean(tiny_bert: TinyModel) -> None:
    train, labels, test = train_and_test(2)
    classifier = fastplr.fit(train, labels, model=tiny_bert.path)
    assert classifier.pooling_ == "mean"
    assert {one["pooling"] for one in classifier.report_["candidates"]} == {"mean"}
    assert fastplr.read_model_info(tiny_bert.path).is_encoder
    assert classifier.report_["estimate"]["accuracy"]["value"] > 0.5
    assert classifier.predict(test).shape == (len(test),)


def test_of_many_rows_a_sample_chooses_and_all_are_fitted(
    tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MAX_ROWS_TO_CHOOSE_BY", 40)
    train, labels, test = train_and_test(3, n_train=90)
    classifier = fastplr.fit(train, labels, model=tiny_llama.path)
    given = fastplr.fit(train, labels, model=tiny_llama.path, layer=classifier.layer_, pooling=classifier.pooling_)
    np.testing.assert_allclose(classifier.predict_proba(test), given.predict_proba(test), atol=1e-5)
    assert len(classifier.report_["candidates"]) == 6
    assert sum(one["n_rows"] for one in classifier.report_["per_class"]) == 42  # 14 of each class
    assert all(0 <= one["row"] < 90 for one in classifier.report_["disputed"])


def test_sets_hold_the_label_as_often_as_was_asked(tiny_llama: TinyModel) -> None:
    texts, labels = load_demo()
    order = np.random.default_rng(0).permutation(len(texts))
    train, test = order[:120], order[120:]
    classifier = fastplr.fit(
        [texts[i] for i in train], [labels[i] for i in train], model=tiny_llama.path, C=0.01, **NO_CHOICE
    )
    for coverage in (0.7, 0.9):
        sets = classifier.predict_set([texts[i] for i in test], coverage=coverage)
        inside = np.mean([labels[i] in members for i, members in zip(test, sets, strict=True)])
        assert inside == pytest.approx(coverage, abs=0.12)
        assert any(len(members) < 3 for members in sets)
    p = classifier.predict_proba([texts[i] for i in test])
    for row, members in zip(p, sets, strict=True):
        ranks = [list(classifier.classes_).index(label) for label in members]
        assert sorted(ranks, key=lambda k: -row[k]) == ranks  # the most probable first


def test_what_is_no_message_is_less_familiar(auto: PLRClassifier) -> None:
    _, _, test = train_and_test(3, n_train=60)
    strange = ["0 0 0 0 0 0 0 0", "{};{};{};", "!!!!!!!!!!!!", "xqzj xqzj xqzj xqzj"]
    shares = auto.familiarity(test)
    assert shares.shape == (len(test),)
    assert ((shares > 0) & (shares <= 1)).all()
    assert auto.familiarity(strange).max() < np.median(shares)


def test_a_file_keeps_what_sets_and_familiarity_need(auto: PLRClassifier, tmp_path: Path) -> None:
    _, _, test = train_and_test(3, n_train=60)
    auto.save(tmp_path / "auto.plr")
    loaded = fastplr.load(tmp_path / "auto.plr")
    assert (loaded.temperature_, loaded.layer_, loaded.pooling_) == (auto.temperature_, auto.layer_, auto.pooling_)
    np.testing.assert_array_equal(loaded.predict_proba(test), auto.predict_proba(test))
    np.testing.assert_array_equal(loaded.familiarity(test), auto.familiarity(test))
    assert loaded.predict_set(test) == auto.predict_set(test)
    copy = pickle.loads(pickle.dumps(auto))
    assert copy.predict_set(test) == auto.predict_set(test)


def test_what_was_not_kept_is_missed_with_a_reason(tiny_llama: TinyModel, tmp_path: Path) -> None:
    train, labels, test = train_and_test(2)
    classifier = fastplr.fit(train, labels, model=tiny_llama.path, keep_training=False)
    classifier.save(tmp_path / "small.plr")
    for one in (classifier, fastplr.load(tmp_path / "small.plr")):
        with pytest.raises(InputError, match="keep_training is False: a prediction set needs the training rows"):
            one.predict_set(test)
        with pytest.raises(InputError, match="keep_training is False: familiarity needs the training rows"):
            one.familiarity(test)
        assert one.predict(test).shape == (len(test),)
    assert (tmp_path / "small.plr").stat().st_size < 20_000


def test_sets_need_rows_that_were_held_out(tiny_llama: TinyModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = fastplr.fit(["a film", "a book"], ["a", "b"], model=tiny_llama.path)
    with pytest.raises(InputError, match="allowed no folds"):
        classifier.predict_set(["a play"])
    assert classifier.familiarity(["a play"]).shape == (1,)
    assert "estimate" not in classifier.report_


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, float("nan"), "0.9", True, None])
def test_coverage_is_a_share(auto: PLRClassifier, coverage: Any) -> None:
    with pytest.raises(InputError, match=r"coverage is .*: expected a number more than 0 and less than 1"):
        auto.predict_set(["a text"], coverage=coverage)


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan"), "half", None, True])
def test_max_layer_is_a_share(tiny_llama: TinyModel, share: Any) -> None:
    with pytest.raises(InputError, match=r"max_layer is .*: expected a share of the depth"):
        fastplr.fit(["a", "b"], [0, 1], model=tiny_llama.path, max_layer=share)


def test_a_prior_that_is_none_is_refused_before_anything_is_embedded(tiny_llama: TinyModel) -> None:
    with pytest.raises(InputError, match="class_prior has no share for the label 1"):
        fastplr.fit(["a", "b"], [0, 1], model=tiny_llama.path, class_prior={0: 1.0})


def test_shuffled_labels_are_estimated_to_be_guessed(tiny_llama: TinyModel) -> None:
    train, labels, _ = train_and_test(2, n_train=60)
    scores = []
    for seed in range(10):
        shuffled = np.random.default_rng(seed).permutation(labels).tolist()
        report = fastplr.fit(train, shuffled, model=tiny_llama.path, random_state=seed).report_
        scores.append(report["estimate"]["balanced_accuracy"]["value"])
        assert report["estimate"]["log_loss"]["value"] > 0.6  # log 2 is 0.69
    assert np.mean(scores) == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(60 * 10))


@pytest.mark.parametrize("n_texts", [2, 3, 4])
def test_with_very_few_rows_the_layer_next_to_the_middle_is_taken(
    tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch, n_texts: int
) -> None:
    """The middle one is not among those that are compared, as with the default model."""
    monkeypatch.setattr("fastplr.classifier.candidate_layers", lambda *_: [1, 3])
    texts, labels = ["a film", "a book", "a play", "a song"][:n_texts], [0, 1, 1, 0][:n_texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        classifier = fastplr.fit(texts, labels, model=tiny_llama.path)
        assert classifier.layer_ in (1, 3)
        assert classifier.predict(["a poem"]).shape == (1,)
        found = classifier.report_.compute()
        assert ("estimate" in found) == (n_texts == 4)
        assert "learning_curve" not in found  # it would have one size of parts only


def test_the_report_knows_the_prior(tiny_llama: TinyModel) -> None:
    train, labels, _ = train_and_test(2, n_train=60)
    names = sorted(set(labels))
    even = fastplr.fit(train, labels, model=tiny_llama.path)
    told = fastplr.fit(train, labels, model=tiny_llama.path, class_prior={names[0]: 0.02, names[1]: 0.98})
    recalls = [[one["recall"]["value"] for one in fitted.report_["per_class"]] for fitted in (even, told)]
    assert recalls[1][0] < recalls[0][0]
    assert recalls[1][1] > recalls[0][1]
    # Nearly every text is of the second class where predictions are made.
    assert told.report_["estimate"]["accuracy"]["value"] == pytest.approx(
        0.02 * recalls[1][0] + 0.98 * recalls[1][1], abs=1e-6
    )


@pytest.mark.parametrize("kind", ["generator", "splitter", "predefined"])
def test_folds_of_the_user_serve_the_choice_the_sample_and_the_report(
    tiny_llama: TinyModel, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(fitting, "MAX_ROWS_TO_CHOOSE_BY", 40)
    train, labels, _ = train_and_test(2, n_train=60)
    parts = np.arange(60) % 4
    cv: Any = {
        "generator": ((np.flatnonzero(parts != k), np.flatnonzero(parts == k)) for k in range(4)),
        "splitter": KFold(4),
        "predefined": PredefinedSplit(parts),
    }[kind]
    Cs = (10.0**k for k in range(-4, 1))
    report = fastplr.fit(train, labels, model=tiny_llama.path, cv=cv, Cs=Cs).report_
    assert report["n_folds"] == 4
    assert report["estimate"]["n_folds"] == 4
    assert report["estimate"]["n_rows"] == 40


def test_fits_in_several_threads_leave_linear_algebra_as_it_was(tiny_llama: TinyModel) -> None:
    train, labels, _ = train_and_test(2)
    before = [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: fastplr.fit(train, labels, model=tiny_llama.path, random_state=seed), range(9)))
    after = [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
    assert after == before
