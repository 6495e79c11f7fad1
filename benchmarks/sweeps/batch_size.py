"""`n_batch`: how many tokens are computed at once."""

from __future__ import annotations

from collections.abc import Callable

from harness.corpus import Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from sweeps.constants import constant, where
from sweeps.section import Section, Setting, Table, compared, half_depth
from sweeps.timing import Case, Label, Timing, native

__all__ = ["sweep"]

KEYS = ("smollm2-q4_0", "smollm2-f16", "minilm-f32", "gemma3")
SIZES = (64, 128, 256, 512, 1024, 2048)
QUICK_SIZES = (64, 512)
N_TEXTS = 102
FORMS = ("no prompt", "instruction")


def sweep(setting: Setting) -> Section:
    """Every size, model and form, a process for each size and model."""
    chosen = constant("n_batch")
    sizes = QUICK_SIZES if setting.quick else SIZES
    texts = setting.texts(N_TEXTS)
    section = Section(
        "Tokens of a batch (`n_batch`)",
        f"""`n_batch` is {chosen} (`{where("n_batch")}`). The native engine over {len(texts)} texts, without a prompt
        and with an instruction before each (shared where the model is causal), to half the model's depth (MiniLM: all
        of it).""",
    )
    timings: dict[Label, Timing] = {}
    for key in KEYS:
        setting.say(f"batch size: {key}")
        try:
            timings |= setting.time(_cases(setting, key, sizes, texts))
        except RivalUnavailable as error:
            section.findings.append(f"Not measured: {MODELS[key].title}: {error}.")
    section.keep(timings)
    columns: dict[str, Callable[[Timing], str]] = {
        "Texts a second": lambda timing: timing.rate,
        "Processor time, ms a text": lambda timing: timing.cpu_per_text,
        "Peak memory over that after the imports, MiB (of both forms)": lambda timing: timing.peak,
    }
    rows = list(dict.fromkeys(label[:2] for label in timings))
    for title, value in columns.items():
        body = [[*row, *(value(timings[(*row, str(size))]) for size in sizes)] for row in rows]
        section.tables.append(Table(title, ["model", "form", *map(str, sizes)], body, left=2))
    for row in rows:
        of_row = {str(size): timings[(*row, str(size))] for size in sizes}
        section.findings += compared(", ".join(row), of_row, str(chosen))
    return section


def _cases(setting: Setting, key: str, sizes: tuple[int, ...], texts: tuple[str, ...]) -> list[Case]:
    path = setting.model_path(key)
    layer = half_depth(key, path)
    prefixes = dict(zip(FORMS, ("", setting.instruction), strict=True))
    return [
        Case(
            (MODELS[key].title, form, str(size)),
            (native(path, layer=layer, n_batch=size),),
            (Group(prefix, "", texts),),
        )
        for form, prefix in prefixes.items()
        for size in sizes
    ]
