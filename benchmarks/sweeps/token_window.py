"""How many texts are tokenised and sorted at once."""

from __future__ import annotations

from harness.corpus import Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from sweeps.constants import constant, where
from sweeps.section import Section, Setting, Table, half_depth
from sweeps.timing import Case, native, token_counter

__all__ = ["sweep"]

KEYS = ("smollm2-q4_0", "minilm-f32")
SIZES = (8, 64, 512)
TOKENISED = "tokenised only"


def sweep(setting: Setting) -> Section:
    """Smaller windows, as calls of fewer texts, and tokenisation alone."""
    chosen = constant("kTextsPerWindow")
    texts = setting.texts(chosen)
    section = Section(
        "Texts of a window",
        f"""`kTextsPerWindow` is {chosen} (`{where("kTextsPerWindow")}`): so many texts are sorted and packed together,
        while the next ones are tokenised. What a window costs: fewer texts that begin alike come together, its last
        batch is not full, and before the first one is tokenised nothing is computed. Smaller windows are shown as calls
        of fewer texts; larger ones were not measured. {len(texts)} texts, no prompt, half depth (MiniLM: full);
        tokenised only: one thread, nothing else.""",
    )
    table = Table("", ["model", "texts of a window", "texts/s", "least to most", "CPU, ms a text"], [], left=2)
    for key in KEYS:
        setting.say(f"windows: {key}")
        model = MODELS[key]
        try:
            path = setting.model_path(key)
        except RivalUnavailable as error:
            section.findings.append(f"Not measured: {model.title}: {error}.")
            continue
        engine = native(path, layer=half_depth(key, path))
        cases = [
            Case((model.title, str(size)), (engine,), tuple(_calls(texts, size)))
            for size in dict.fromkeys(min(size, len(texts)) for size in SIZES)
        ]
        cases.append(Case((model.title, TOKENISED), (token_counter(path),), (Group("", "", texts),)))
        timings = setting.time(cases)
        section.keep(timings)
        for label, timing in timings.items():
            table.rows.append([*label, timing.rate, timing.spread, timing.cpu_per_text])
        tokenised, whole = timings[model.title, TOKENISED], timings[cases[-2].label]
        if tokenised.wall and whole.wall:
            wait = 1000 * chosen * tokenised.median_wall / len(texts)
            section.findings.append(
                f"{model.title}: tokenisation is {tokenised.median_cpu / whole.median_cpu:.1%} of the processor time of"
                f" {cases[-2].label[1]} texts, and a first window of {chosen} waits {wait:.0f} ms for it."
            )
    section.tables.append(table)
    return section


def _calls(texts: tuple[str, ...], size: int) -> list[Group]:
    return [Group("", "", texts[first : first + size]) for first in range(0, len(texts), size)]
