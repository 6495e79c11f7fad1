"""What a shared prompt saves, and that the first call with one pays nothing for it."""

from __future__ import annotations

from fastplr import _core
from harness.corpus import Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from sweeps.section import Section, Setting, Table, half_depth
from sweeps.timing import Case, Label, Timing, native

__all__ = ["prompt_of", "sweep"]

KEY = "smollm2-q4_0"
N_TOKENS = (2, 4, 8, 16, 32, 64)
N_TEXTS = (1, 4, 17, 33)
QUICK_N_TOKENS = (4, 8)
QUICK_N_TEXTS = (1, 17)
N_ROUNDS = 5
WORDS = """Read the text and say what kind of text it is, who may have written it for whom, and what it is about in a
few words of your own; then say if the text is good or bad and why you think so. Do not say more than that, and do not
say it twice. This is the text that you have to read"""
WAYS = {
    "nothing shared": {"share_prefix": False},
    "shared, first call": {},
    "shared, later call": {"keep_prefix": True},
}


def sweep(setting: Setting) -> Section:
    """Prompts of some lengths before some numbers of texts, computed in three ways."""
    section = Section(
        "When a prompt is shared",
        f"""Whatever texts of a batch begin with is computed once a batch. The prompt is computed with the first
        batch of a first call and kept for all that follow (`cpp/src/embedding/shared_prefix.cpp`), however short it
        is. The native engine, {MODELS[KEY].title}, half depth: nothing shared; shared, in a first call; and in a
        later call that finds what an earlier one kept. Milliseconds of a call, medians.""",
    )
    setting.say("shared prompts")
    try:
        path = setting.model_path(KEY)
    except RivalUnavailable as error:
        section.findings.append(f"Not measured: {error}.")
        return section
    counter = _core.Embedder(_core.Model(str(path), max_layer=1), n_threads=1)
    numbers = QUICK_N_TEXTS if setting.quick else N_TEXTS
    texts = setting.texts(max(numbers) + 17)
    engines = {way: native(path, layer=half_depth(KEY, path), **options) for way, options in WAYS.items()}
    wanted = QUICK_N_TOKENS if setting.quick else N_TOKENS
    prompts = dict(prompt_of(n, counter, texts[0]) for n in wanted)
    lengths = tuple(prompts)
    cases = [
        Case((str(length), str(n), way), (engine,), (Group(prompt, "", texts[:n]),))
        for length, prompt in prompts.items()
        for n in numbers
        for way, engine in engines.items()
    ]
    timings = setting.time(cases, N_ROUNDS)
    section.keep(timings)
    table = Table("", ["tokens of the prompt", "texts", *WAYS], [], left=0)
    for length in lengths:
        for n in numbers:
            cells = [_milliseconds(timings[str(length), str(n), way]) for way in WAYS]
            table.rows.append([str(length), str(n), *cells])
    section.tables.append(table)
    section.findings += _worth(timings, lengths, numbers, counter, texts)
    return section


def prompt_of(n_tokens: int, counter: _core.Embedder, text: str) -> tuple[int, str]:
    """The tokens that a prompt adds to a text, `n_tokens` or next to it, and the prompt. ValueError: too few WORDS."""
    alone = counter.count_tokens(text)
    words = WORDS.split()
    for n_words in range(len(words) + 1):
        prompt = " ".join(words[:n_words]) + "\n"
        added = counter.count_tokens(text, prefix=prompt) - alone
        if added >= n_tokens:
            return added, prompt
    raise ValueError(f"all words together add {added} tokens: expected {n_tokens}")


def _milliseconds(timing: Timing) -> str:
    return f"{1000 * timing.median_wall:.1f}" if timing.wall else "not measured"


def _worth(
    timings: dict[Label, Timing],
    lengths: tuple[int, ...],
    numbers: tuple[int, ...],
    counter: _core.Embedder,
    texts: tuple[str, ...],
) -> list[str]:
    """What a token costs, and what the first and the later calls with one text save."""
    alone, together, later = WAYS
    most = max(numbers)
    if len(lengths) < 2 or any(timing.trouble is not None for timing in timings.values()):
        return []
    n_tokens = sum(counter.count_tokens(text) for text in texts[:most])
    # Between the shortest and the longest prompt, so that what a call costs beside its tokens is not in it.
    more_tokens = most * (max(lengths) - min(lengths))
    slower = (
        timings[str(max(lengths)), str(most), alone].median_wall
        - timings[str(min(lengths)), str(most), alone].median_wall
    )
    per_token = slower / more_tokens
    extra = [
        timings[str(length), "1", together].median_wall - timings[str(length), "1", alone].median_wall
        for length in lengths
    ]
    longest = str(max(lengths))
    saved = timings[longest, "1", alone].median_wall - timings[longest, "1", later].median_wall
    return [
        f"A token more in a call of {most} texts ({n_tokens} tokens without a prompt) takes {1000 * per_token:.2f} ms.",
        f"""For a single text the first call takes {1000 * min(extra):.1f} to {1000 * max(extra):.1f} ms more than one
        in which nothing is kept; a later call with a prompt of {longest} tokens saves {1000 * saved:.1f} ms.""",
    ]
