"""One KV cache or one for each text, flash attention or none, and how flash attention is cut into tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.corpus import Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from sweeps.constants import constant, where
from sweeps.section import Section, Setting, Table, compared
from sweeps.timing import Case, libllama

__all__ = ["sweep_cache", "sweep_tiles"]

KEYS = ("smollm2-q4_0", "minilm-f32")
N_TEXTS = 68
N_BATCH = 512
MAX_TEXTS = 64
CHOSEN = "one cache, flash attention"
UNSORTED = "one cache, flash attention, order as given"
#: The program's options, by what they mean; every text has room in N_BATCH tokens.
SETTINGS = {
    CHOSEN: ("--sort", "--flash-attn", "on"),
    "one cache, no flash attention": ("--sort", "--flash-attn", "off"),
    "a cache for each text, flash attention": ("--sort", "--split-kv", "--flash-attn", "on"),
    "a cache for each text, no flash attention": ("--sort", "--split-kv", "--flash-attn", "off"),
    UNSORTED: ("--flash-attn", "on"),
}
TILE_BATCHES = (512, 2048)


def sweep_cache(setting: Setting) -> Section:
    """libllama with fastplr's patches, by its own interface: fastplr's engine has these choices built in."""
    texts = setting.texts(N_TEXTS)
    section = Section(
        "KV cache and flash attention",
        f"""Texts of a batch share one unified KV cache, with flash attention where the model allows it
        (`cpp/src/embedding/context.cpp`). Here libllama with fastplr's patches computes {len(texts)} texts to full
        depth, output head included (which thins out every difference), in batches of {N_BATCH} tokens and {MAX_TEXTS}
        texts at most, longest first. A cache for each text holds {N_BATCH} tokens; what such caches deal out to several
        steps is averaged by the program, in all lines. Cosine: of the features with those of the model's first line,
        the least of all texts.""",
    )
    table = Table(
        "", ["model", "setting", "texts/s", "least to most", "CPU, ms a text", "peak, MiB", "cosine"], [], left=2
    )
    for key in KEYS:
        setting.say(f"KV cache and flash attention: {key}")
        model = MODELS[key]
        try:
            path = setting.model_path(key)
        except RivalUnavailable as error:
            section.findings.append(f"Not measured: {model.title}: {error}.")
            continue
        cases = []
        for name, options in SETTINGS.items():
            if model.encoder and "--split-kv" in options:
                continue  # it has no cache
            limits = ("--rows", "--texts", str(MAX_TEXTS))
            engine = libllama(path, N_BATCH, N_BATCH, *options, *limits)
            cases.append(Case((model.title, name), (engine,), (Group("", "", texts),)))
        timings = setting.time(cases)
        section.keep(timings)
        first = timings[cases[0].label]
        for label, timing in timings.items():
            near = _least_cosine(timing.features, first.features)
            table.rows.append([*label, timing.rate, timing.spread, timing.cpu_per_text, timing.peak, near])
        by_name = {label[1]: timing for label, timing in timings.items()}
        unsorted = {name: by_name.pop(name) for name in (UNSORTED,)}
        section.findings += compared(model.title, by_name, CHOSEN)
        section.findings += compared(f"{model.title}, order", unsorted | {CHOSEN: by_name[CHOSEN]}, CHOSEN)
    section.tables.append(table)
    return section


def sweep_tiles(setting: Setting) -> Section:
    """llama.cpp's attention and ours, and ours with other tiles."""
    side = constant("GGML_FA_TILE_Q")
    texts = setting.texts(N_TEXTS)
    chosen = f"tiles of {side}, masks read as bits"
    programs = {
        "llama.cpp without any patch": "stock",
        "tiles of 64, masks read value by value, as llama.cpp does": "unskipped",
        "tiles of 64, masks read as bits": "tile-64",
        chosen: "patched",
        "tiles of 16, masks read as bits": "tile-16",
    }
    section = Section(
        "Tiles of flash attention",
        f"""On x86 tiles are {side} x {side}, elsewhere 64 x 64 as llama.cpp has them; whether the mask hides a tile,
        so that it can be skipped, is read off the bits of the mask before anything is converted
        (`{where("GGML_FA_TILE_Q")}`). libllama computes {len(texts)} texts, longest first, to full depth; all lines
        but the first are fastplr's llama.cpp and differ in the attention alone.""",
    )
    table = Table("", ["model", "batch", "attention", "texts/s", "least to most", "CPU, ms a text"], [], left=3)
    for key in KEYS:
        setting.say(f"tiles: {key}")
        try:
            path = setting.model_path(key)
        except RivalUnavailable as error:
            section.findings.append(f"Not measured: {MODELS[key].title}: {error}.")
            continue
        groups = (Group("", "", texts),)
        cases = [
            Case((MODELS[key].title, str(n), name), (libllama(path, n, n, "--sort", which=program),), groups)
            for n in TILE_BATCHES
            for name, program in programs.items()
        ]
        timings = setting.time(cases)
        section.keep(timings)
        for label, timing in timings.items():
            table.rows.append([*label, timing.rate, timing.spread, timing.cpu_per_text])
        for n in TILE_BATCHES:
            of_batch = {label[2]: timing for label, timing in timings.items() if label[1] == str(n)}
            section.findings += compared(f"{MODELS[key].title}, batches of {n}", of_batch, chosen)
    section.tables.append(table)
    return section


def _least_cosine(a: npt.NDArray[np.float32] | None, b: npt.NDArray[np.float32] | None) -> str:
    """Of rows of norm 1."""
    return "" if a is None or b is None else f"{(a.astype(np.float64) * b).sum(axis=1).min():.5f}"
