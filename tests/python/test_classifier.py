"""PLRClassifier against scikit-learn on the same features, and inside scikit-learn's tools."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

import fastplr
from fastplr import Embedder, PLRClassifier, Prompt, engine
from fastplr.feature_cache import FeatureCache
from fastplr.threads import default_threads
from labelled_texts import NO_CHOICE, train_and_test
from tiny_models import TinyModel

Fit = Callable[..., PLRClassifier]


def _engine_of(tiny: TinyModel) -> object:
    settings = {"n_ctx": 0, "n_batch": 512, "n_threads": default_threads(), "n_gpu_layers": 0, "kernels": True}
    return engine.get_engine(Embedder(tiny.path).resolve(), engine.file_stamp(tiny.path), max_layer=-1, **settings)


@pytest.fixture
def fit(tiny_llama: TinyModel) -> Fit:
    """``fit(texts, labels, ...)`` on the tiny model, with nothing chosen and C=0.05 unless told otherwise."""

    def fit_on_tiny(texts: Iterable[str], labels: Iterable[Hashable], **params: Any) -> PLRClassifier:
        return fastplr.fit(
            texts, labels, **{"model": tiny_llama.path, "C": 0.05, "calibrate": False, **NO_CHOICE, **params}
        )

    return fit_on_tiny


class CountingCache(FeatureCache):
    """The real cache, which also counts how often each text's features were computed, by text, layer and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.computed: Counter[bytes] = Counter()

    def put(self, keys: Any, features: Any, cut: Any) -> None:
        self.computed.update(keys)
        super().put(keys, features, cut)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> CountingCache:
    counting = CountingCache()
    monkeypatch.setattr("fastplr.embedder.feature_cache", counting)
    return counting


# -- the numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_same_numbers_as_scikit_learn_on_the_same_features(tiny_llama: TinyModel, n_classes: int, C: float) -> None:
    train, labels, test = train_and_test(n_classes)
    prompt = Prompt("A message to a bank: ", " What is it about?")
    embedder = Embedder(tiny_llama.path, layer=3, pooling="last", prompt=prompt)
    scaler = StandardScaler().fit(embedder.embed(train).astype(float))
    theirs = sklearn.linear_model.LogisticRegression(C=C, solver="newton-cg", tol=1e-12, max_iter=10_000)
    theirs.fit(scaler.transform(embedder.embed(train).astype(float)), labels)
    features = scaler.transform(embedder.embed(test).astype(float))

    ours = PLRClassifier(tiny_llama.path, layer=3, pooling="last", prompt=prompt, C=C, calibrate=False).fit(
        train, labels
    )

    np.testing.assert_allclose(ours.predict_proba(test), theirs.predict_proba(features), rtol=0, atol=1e-7)
    logits = theirs.decision_function(features)
    if n_classes > 2:
        logits = logits - theirs.intercept_.mean()  # theirs stop anywhere along the direction without effect
    np.testing.assert_allclose(ours.decision_function(test), logits, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.predict(test), theirs.predict(features))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    assert len(set(ours.predict(train))) == n_classes  # not decided by the intercept alone


@pytest.mark.parametrize("n_classes", [2, 3])
def test_shapes_types_and_what_belongs_together(fit: Fit, n_classes: int) -> None:
    train, labels, test = train_and_test(n_classes)
    classifier = fit(train, labels)
    p = classifier.predict_proba(test)
    logits = classifier.decision_function(test)
    assert p.shape == (len(test), n_classes)
    assert logits.shape == ((len(test),) if n_classes == 2 else (len(test), n_classes))
    assert p.dtype == logits.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-14)
    two_columns = np.column_stack([np.zeros(len(test)), logits]) if n_classes == 2 else logits
    np.testing.assert_allclose(p, np.exp(two_columns) / np.exp(two_columns).sum(axis=1, keepdims=True), atol=1e-14)
    assert classifier.predict(test).tolist() == classifier.classes_[p.argmax(axis=1)].tolist()
    assert classifier.coef_.shape == (1 if n_classes == 2 else n_classes, 64)
    assert classifier.intercept_.shape == (1 if n_classes == 2 else n_classes,)
    assert (classifier.layer_, classifier.pooling_, classifier.C_) == (2, "mean", 0.05)


def test_sample_weight_is_repetition(fit: Fit) -> None:
    train, labels, test = train_and_test(3)
    times = np.random.default_rng(0).integers(0, 4, len(train))
    weighted = fit(train, labels, sample_weight=times)
    repeated = fit(np.repeat(train, times), np.repeat(labels, times))
    np.testing.assert_allclose(weighted.predict_proba(test), repeated.predict_proba(test), rtol=0, atol=1e-8)
    assert np.abs(weighted.predict_proba(test) - fit(train, labels).predict_proba(test)).max() > 1e-3


def test_class_weight_is_a_weight_of_each_row(fit: Fit) -> None:
    train, labels, _ = train_and_test(3)
    train, labels = train[:-9] + train[:2], labels[:-9] + labels[:2]  # classes of different sizes
    names = sorted(set(labels))
    factor = dict(zip(names, [0.5, 3.0, 1.0], strict=True))
    for class_weight, weights in (
        (factor, [factor[label] for label in labels]),
        ({names[1]: 3.0}, [3.0 if label == names[1] else 1.0 for label in labels]),
        ("balanced", compute_sample_weight("balanced", labels)),
    ):
        # The scaler takes the weights of rows but not those of classes: only the solver's part is compared.
        by_class = fit(train, labels, class_weight=class_weight)
        features = Embedder(by_class.model).embed(train).astype(float)
        theirs = sklearn.linear_model.LogisticRegression(C=0.05, solver="newton-cg", tol=1e-12, max_iter=10_000)
        theirs.fit(StandardScaler().fit_transform(features), labels, sample_weight=weights)
        np.testing.assert_allclose(by_class.coef_, theirs.coef_, rtol=0, atol=1e-6)


def test_infinite_C_is_no_penalty(fit: Fit) -> None:
    # Fewer texts than features: without a penalty each text gets the share of its labels exactly.
    train, labels, _ = train_and_test(2, n_train=30)
    names = sorted(set(labels))
    others = [names[1 - names.index(label)] for label in labels]
    weights = np.repeat([3.0, 1.0], len(train))
    classifier = fit([*train, *train], labels + others, C=math.inf, sample_weight=weights)
    p = classifier.predict_proba(train)[np.arange(len(train)), [names.index(label) for label in labels]]
    np.testing.assert_allclose(p, 0.75, rtol=0, atol=1e-6)
    assert (classifier.C_, classifier.report_["lambda"]) == (math.inf, 0)


def test_separated_classes_without_a_penalty_do_not_converge_and_say_so(fit: Fit) -> None:
    train, labels, _ = train_and_test()
    with pytest.warns(fastplr.NotConverged, match="can be separated"):
        assert not fit(train, labels, C=math.inf).report_["converged"]


def test_automatic_C_is_the_best_of_the_folds_and_reproducible(fit: Fit, tiny_llama: TinyModel) -> None:
    train, labels, test = train_and_test()
    Cs = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    first, second = (fit(train, labels, C="auto", Cs=Cs, cv=5, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(test), second.predict_proba(test))

    features = Embedder(tiny_llama.path).embed(train).astype(float)
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    scores = {}
    for C in Cs:
        theirs = sklearn.linear_model.LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=10_000)
        theirs = make_pipeline(StandardScaler(), theirs)  # the folds do not see each other's means either
        scores[C] = cross_val_score(theirs, features, labels, cv=folds, scoring="neg_log_loss").mean()
    best = max(scores, key=scores.__getitem__)
    assert first.C_ == first.report_["C"] == best
    assert best not in (Cs[0], Cs[-1])  # a choice, not an end of the list
    assert first.report_["n_folds"] == 5
    (candidate,) = first.report_["candidates"]
    assert candidate["log_loss"] == pytest.approx(-scores[best], rel=1e-3)


# -- in scikit-learn -----------------------------------------------------------------------------------------------


def test_cross_validation_embeds_each_text_once(tiny_llama: TinyModel, cache: CountingCache) -> None:
    train, labels, _ = train_and_test(3)
    texts, labels = [*train, *train[:6]], [*labels, *labels[:6]]  # some twice
    scores = cross_val_score(PLRClassifier(tiny_llama.path, C=1.0, **NO_CHOICE), texts, labels, cv=5)
    assert scores.shape == (5,)
    assert scores.mean() > 0.4  # random weights still know words; chance is 1/3
    assert len(cache.computed) == len(set(train))
    assert set(cache.computed.values()) == {1}


def test_grid_search_embeds_each_text_once_for_each_features_and_loads_the_model_once(
    tiny_llama: TinyModel, cache: CountingCache
) -> None:
    train, labels, test = train_and_test(3, n_train=30)
    engine.clear_engines()
    loaded = _engine_of(tiny_llama)
    grid = {"layer": [1, 3], "pooling": ["mean", "last"], "C": [1e-3, 1e-2, 1.0]}
    search = GridSearchCV(PLRClassifier(tiny_llama.path), grid, cv=3, scoring="neg_log_loss").fit(train, labels)
    assert _engine_of(tiny_llama) is loaded
    assert len(engine._models) == 1
    assert set(cache.computed.values()) == {1}
    assert len(cache.computed) == 2 * 2 * len(train)

    best = clone(search.best_estimator_).fit(train, labels)
    assert best.report_["n_tokens"] == 0  # all known by then
    np.testing.assert_array_equal(search.predict_proba(test), best.predict_proba(test))


def test_tokens_are_counted(tiny_llama: TinyModel, fit: Fit, cache: CountingCache) -> None:
    train, labels, _ = train_and_test()
    prompt = Prompt("Message: ", " Topic?")
    expected = sum(len(tiny_llama.tokenize(prompt.render(text))) for text in train)
    assert fit([*train, *train], labels + labels, prompt=prompt).report_["n_tokens"] == expected


def test_pipeline_passes_texts_through(fit: Fit, tiny_llama: TinyModel) -> None:
    train, labels, test = train_and_test()
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = Pipeline(
        [("lower", lower), ("plr", PLRClassifier(tiny_llama.path, C=0.05, calibrate=False, **NO_CHOICE))]
    ).fit(train, labels)
    expected = fit([text.lower() for text in train], labels)
    np.testing.assert_array_equal(pipeline.predict_proba(test), expected.predict_proba([text.lower() for text in test]))
    # The parts in a row do what the classifier does.
    parts = make_pipeline(Embedder(tiny_llama.path), StandardScaler(), fastplr.LogisticRegression(C=0.05))
    np.testing.assert_allclose(
        parts.fit(train, labels).predict_proba(test), fit(train, labels).predict_proba(test), rtol=0, atol=1e-4
    )


def test_clone_has_the_parameters_and_is_not_fitted(tiny_llama: TinyModel) -> None:
    train, labels, test = train_and_test()
    original = PLRClassifier(tiny_llama.path, prompt=Prompt("Text: "), layer=1, C=0.5, class_weight="balanced")
    copy = clone(original.fit(train, labels))
    assert copy.get_params() == original.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(test)


def test_other_processes_predict_the_same(tiny_llama: TinyModel, cache: CountingCache) -> None:
    train, labels, _ = train_and_test(3, n_train=24)
    estimator = PLRClassifier(tiny_llama.path, C=1.0, n_threads=1, **NO_CHOICE)
    here, there = (
        cross_val_predict(estimator, train, labels, cv=2, n_jobs=n_jobs, method="predict_proba") for n_jobs in (None, 2)
    )
    assert len(cache.computed) == len(train)  # here; and there in the same batches, the two halves
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-12)
    assert np.ptp(here, axis=0).min() > 0.1  # not a constant


def test_pickle_round_trip(fit: Fit) -> None:
    train, labels, test = train_and_test(3)
    classifier = fit(train, labels, prompt="Which topic?")
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copy.predict_proba(test), classifier.predict_proba(test))
    assert copy.report_.known() == classifier.report_.known()
    assert copy.get_params() == classifier.get_params()


# -- what a fit says of itself -------------------------------------------------------------------------------------


def test_report_names_all_that_was_fitted(fit: Fit, tiny_llama: TinyModel, cache: CountingCache) -> None:
    train, labels, _ = train_and_test(3)
    report = fit(train, labels, C="auto").report_
    assert json.loads(json.dumps(report.known())) == report.known()
    counts = Counter(labels)
    assert report["classes"] == [{"label": label, "count": counts[label]} for label in sorted(counts)]
    assert report["n_texts"] == len(train)
    assert report["model"] == {
        "name": str(tiny_llama.path),
        "source_sha256": fastplr.model_store.resolve(tiny_llama.path).file_sha256,
        "recipe": {"type": None, "cut": None, "llama_cpp_commit": None},
    }
    assert (report["layer"], report["pooling"]) == (2, "mean")
    assert report["lambda"] == 1 / report["C"]
    assert report["n_folds"] == 10
    assert report["converged"] is True
    assert report["n_iter"] > 0
    assert report["n_tokens"] > len(train)
    assert report["embed_seconds"] > 0
    assert report["solve_seconds"] > 0
    assert fit(train, labels).report_["n_folds"] == 0


def test_nothing_but_fit_works_before_fit(tiny_llama: TinyModel) -> None:
    classifier = PLRClassifier(tiny_llama.path)
    for method in (classifier.predict, classifier.predict_proba, classifier.decision_function):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            method(["a text"])


def test_a_failed_fit_leaves_the_fitted_classifier_as_it_was(fit: Fit) -> None:
    train, labels, test = train_and_test()
    classifier = fit(train, labels)
    before = classifier.predict_proba(test)
    with pytest.raises(fastplr.InputError):
        classifier.fit(train, ["same"] * len(train))
    np.testing.assert_array_equal(classifier.predict_proba(test), before)


def test_long_texts_are_an_error_or_cut_with_a_warning(fit: Fit) -> None:
    train, labels, test = train_and_test()
    long_text = test[0] + " " + "very long " * 600
    classifier = fit(train, labels)
    with pytest.raises(fastplr.InputError, match=r"text.*1.*tokens"):
        classifier.predict([test[0], long_text])
    cutting = fit(train, labels, on_long="truncate")
    with pytest.warns(fastplr.TruncationWarning, match="1 of 2"):
        assert cutting.predict_proba([test[0], long_text]).shape == (2, 2)
