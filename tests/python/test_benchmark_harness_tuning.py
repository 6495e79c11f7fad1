"""The command behind docs/tuning.md: what it would time wrongly would be believed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import tuning
from fastplr import Prompt
from harness.corpus import Corpus, Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from native_embedding import engine_of, native_embed
from rivals.libllama import PROGRAMS, find_program
from sweeps import constants
from sweeps.document import render
from sweeps.native_engine import NativeEngine, TokenCounter
from sweeps.section import compared
from sweeps.shared_prefix import prompt_of
from sweeps.timing import Case, Timing, libllama, native, time_cases
from tiny_models import TinyModel

TEXTS = ("The film isn't very good.", "The company said that profit rose.", "a")
PROMPT = "The film and the company, the profit and the film, and what the company said of it: "  # worth computing apart


def silent(line: str) -> None:
    """Nobody listens."""


def programs_are_built() -> bool:
    try:
        for which in PROGRAMS:
            find_program(which)
    except RivalUnavailable:
        return False
    return True


@pytest.mark.parametrize("name", constants.CONSTANTS)
def test_constant_is_the_one_of_the_sources(name: str) -> None:
    source = (constants.REPOSITORY / constants.where(name)).read_text("utf-8")
    assert re.search(rf"\b{name}\b\D*\b{constants.constant(name)}\b", source)


def test_constant_that_has_moved_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(constants.CONSTANTS, "kGone", r"^constexpr int kGone = (\d+);")
    with pytest.raises(LookupError, match=r"kGone: 0 files"):
        constants.constant("kGone")


def test_every_round_of_every_case_is_kept(tiny_llama: TinyModel) -> None:
    group = Group(PROMPT, "", TEXTS)
    cases = [
        Case(("one",), (native(tiny_llama.path, layer=2),), (group,)),
        Case(("two calls",), (native(tiny_llama.path, layer=2, share_prefix=False),), (group, group)),
        Case(("no file",), (native(tiny_llama.path.with_name("missing.gguf"), layer=2),), (group,)),
    ]
    timings = time_cases(cases, n_rounds=2, n_threads=1, say=silent)
    for label, n_texts in ((("one",), 3), (("two calls",), 6)):
        timing = timings[label]
        assert (timing.n_texts, timing.trouble, len(timing.wall), len(timing.cpu)) == (n_texts, None, 2, 2)
        assert min(timing.wall) > 0
        # One thread computes; another one tokenises.
        assert all(cpu < 2 * wall + 0.02 for cpu, wall in zip(timing.cpu, timing.wall, strict=True))
    expected, _ = native_embed(engine_of(tiny_llama.path), TEXTS, [2], prefix=PROMPT)
    np.testing.assert_allclose(timings["one",].features, expected[:, 0, 0], atol=1e-5)
    unshared, _ = native_embed(engine_of(tiny_llama.path, share_prefix=False), TEXTS, [2], prefix=PROMPT)
    np.testing.assert_allclose(timings["two calls",].features, np.tile(unshared[:, 0, 0], (2, 1)), atol=1e-5)
    assert "missing.gguf" in timings["no file",].trouble
    assert timings["no file",].rate == "not measured"


def test_engines_of_a_case_embed_at_the_same_time(tiny_llama: TinyModel) -> None:
    twins = tuple(native(tiny_llama.path, layer=layer) for layer in (1, 2))
    timing = time_cases([Case(("both",), twins, (Group("", "", TEXTS),))], n_rounds=1, n_threads=1, say=silent)["both",]
    assert timing.n_texts == 2 * len(TEXTS)
    assert len(timing.wall) == 1


def test_earlier_call_leaves_its_prompt_only_where_it_should(tiny_llama: TinyModel) -> None:
    group = {"prefix": PROMPT, "suffix": "", "texts": list(TEXTS)}
    whole = [tiny_llama.tokenize(PROMPT + text) for text in TEXTS]
    beginnings = {tuple(tokens[:n]) for tokens in whole for n in range(1, len(tokens) + 1)}  # a token each, if shared
    prompt = len(tiny_llama.tokenize(PROMPT.rstrip()))  # the space belongs to the text's first word
    for keep_prefix in (False, True):
        engine = NativeEngine(str(tiny_llama.path), 1, layer=2, keep_prefix=keep_prefix)
        engine.load()
        for _ in range(2):
            engine.prepare([group])
            _, summary = native_embed(engine.engine, TEXTS, [2], prefix=PROMPT)
            assert summary["n_computed"] == len(beginnings) - keep_prefix * prompt


def test_token_counter_counts_whole_strings(tiny_llama: TinyModel) -> None:
    counter = TokenCounter(str(tiny_llama.path), 1)
    counter.load()
    counts = counter.embed([{"prefix": PROMPT, "suffix": "", "texts": list(TEXTS)}])
    assert counts.ravel().tolist() == [len(tiny_llama.tokenize(PROMPT + text)) for text in TEXTS]


def test_prompt_adds_the_tokens_it_says(tiny_llama: TinyModel) -> None:
    n_tokens, prompt = prompt_of(20, engine_of(tiny_llama.path), TEXTS[0])
    assert 20 <= n_tokens < 30
    assert n_tokens == len(tiny_llama.tokenize(prompt + TEXTS[0])) - len(tiny_llama.tokenize(TEXTS[0]))
    with pytest.raises(ValueError, match="expected 5000"):
        prompt_of(5000, engine_of(tiny_llama.path), TEXTS[0])


def test_finding_says_by_how_much_the_choice_is_slower() -> None:
    timings = {"a": Timing(1, wall=[1.0, 2.0, 9.0]), "b": Timing(1, wall=[2.1, 2.2, 2.3]), "c": Timing(1)}
    assert compared("x", timings, "a") == ["x: a, which is the choice, is fastest."]
    slower = "x: a is fastest; b, which is the choice, takes 10.0% more time"
    assert compared("x", timings, "b") == [f"{slower}, though rounds of the two overlap."]
    timings["a"].wall = [1.9, 2.0, 2.05]
    assert compared("x", timings, "b") == [f"{slower}."]
    assert compared("x", timings, "c") == []


@pytest.mark.skipif(not programs_are_built(), reason="the benchmarks' programs are not built")
@pytest.mark.parametrize("options", [("--split-kv", "--rows"), ("--rows",), ("--flash-attn", "off"), ("--budget", "9")])
def test_options_of_the_program_change_the_work_but_not_the_features(
    tiny_llama: TinyModel, options: tuple[str, ...]
) -> None:
    groups = (Group("", "", TEXTS),)
    cases = [
        Case(("plain",), (libllama(tiny_llama.path, 512, 512),), groups),
        Case(("other",), (libllama(tiny_llama.path, 512, 512, "--sort", "--texts", "2", *options),), groups),
    ]
    timings = time_cases(cases, n_rounds=1, n_threads=1, say=silent)
    np.testing.assert_allclose(timings["other",].features, timings["plain",].features, atol=2e-3)
    states, _ = native_embed(engine_of(tiny_llama.path), TEXTS, [-1], ["mean_all"])
    own = states[:, 0, 0] / np.linalg.norm(states[:, 0, 0], axis=1, keepdims=True)
    np.testing.assert_allclose(timings["other",].features, own, atol=2e-3)


@pytest.mark.skipif(not programs_are_built(), reason="the benchmarks' programs are not built")
@pytest.mark.parametrize("which", sorted(PROGRAMS))
def test_every_variant_computes_the_same(tiny_llama: TinyModel, which: str) -> None:
    text = " ".join(TEXTS) * 3  # more tokens than a tile has rows
    case = Case((which,), (libllama(tiny_llama.path, 512, 512, which=which),), (Group("", "", (text, *TEXTS)),))
    features = time_cases([case], n_rounds=1, n_threads=2, say=silent)[which,].features
    states, _ = native_embed(engine_of(tiny_llama.path), [text, *TEXTS], [-1], ["mean_all"])
    own = states[:, 0, 0] / np.linalg.norm(states[:, 0, 0], axis=1, keepdims=True)
    np.testing.assert_allclose(features, own, atol=2e-3)


@pytest.mark.skipif(not programs_are_built(), reason="the benchmarks' programs are not built")
def test_wrong_option_of_the_program_is_named(tiny_llama: TinyModel) -> None:
    with pytest.raises(Exception, match="unknown option --no-such"):
        libllama(tiny_llama.path, 512, 512, "--no-such").start(1)
    with pytest.raises(Exception, match="--flash-attn is 'maybe'"):
        libllama(tiny_llama.path, 512, 512, "--flash-attn", "maybe").start(1)


@pytest.mark.slow
def test_quick_run_measures_every_section(tiny_llama: TinyModel, tiny_bert: TinyModel, tmp_path: Path, capsys) -> None:
    texts = tuple(" ".join(TEXTS[: 1 + n % 3]) + f" {n}" for n in range(60))
    styles = {style: Prompt(instruction="Is the film good?") for style in ("instruction", "paper")}
    corpus = Corpus((("a", texts[:30]), ("b", texts[30:])), {"a": styles, "b": styles})

    def model_path(key: str) -> Path:
        if key == "gemma3":
            raise RivalUnavailable("its licence was not accepted")
        return (tiny_bert if MODELS[key].encoder else tiny_llama).path

    results = tuning.measure(list(tuning.SWEEPS), corpus, model_path, quick=True, n_threads=1)
    results.save(tmp_path / "tuning.json")
    document = render(results)
    capsys.readouterr()
    assert len(re.findall("^## ", document, re.MULTILINE)) == len(tuning.SWEEPS)
    assert "Not measured: Gemma 3 270M Q4_K_M: its licence was not accepted." in document
    assert max(map(len, (line for line in document.splitlines() if not line.startswith("|")))) <= 120
    missing = [finding for s in results.sections for finding in s.findings if finding.startswith("Not measured")]
    allowed = r"licence" if programs_are_built() else r"licence|FASTPLR_BUILD_BENCHMARKS"
    assert all(re.search(allowed, finding) for finding in missing)
    sections = json.loads((tmp_path / "tuning.json").read_text("utf-8"))["sections"]
    times = [times for section in sections for times in section["seconds"].values()]
    assert len(times) > 30
    assert all(len(time["wall"]) == len(time["cpu"]) <= 1 for time in times)
    assert sum(len(time["wall"]) for time in times) >= (len(times) if programs_are_built() else 15)
