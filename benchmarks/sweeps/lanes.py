"""Batches side by side, a thread each, against all threads on one batch."""

from __future__ import annotations

from harness.corpus import Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from sweeps.constants import constant, where
from sweeps.section import Section, Setting, Table, half_depth
from sweeps.timing import Case, native

__all__ = ["sweep"]

KEYS = ("smollm2-q4_0", "smollm2-f16", "minilm-f32", "gemma3")
N_TEXTS = 102
TOGETHER, SIDE_BY_SIDE = "together", "side by side"


def sweep(setting: Setting) -> Section:
    """Both ways, for every model."""
    chosen = constant("kPercentTogether")
    texts = setting.texts(N_TEXTS)
    section = Section(
        "Batches side by side",
        f"""Where a call has several batches, every thread computes one of its own (`max_lanes`,
        `{where("n_batch")}`); a batch that would leave the others idle is computed by all threads together, which is
        reckoned to take {chosen} % of the time (`kPercentTogether`, `{where("kPercentTogether")}`). Here
        {setting.n_threads} threads, {len(texts)} texts, no prompt, half depth (MiniLM: full). More threads than these
        were not measured.""",
    )
    columns = [
        "model",
        "threads",
        "texts/s",
        "least to most",
        "CPU, ms a text",
        "peak memory, MiB",
        "time, of side by side",
    ]
    table = Table("", columns, [], left=2)
    for key in KEYS:
        setting.say(f"lanes: {key}")
        title = MODELS[key].title
        try:
            path = setting.model_path(key)
        except RivalUnavailable as error:
            section.findings.append(f"Not measured: {title}: {error}.")
            continue
        layer = half_depth(key, path)
        groups = (Group("", "", texts),)
        cases = [
            Case((title, SIDE_BY_SIDE), (native(path, layer=layer),), groups),
            Case((title, TOGETHER), (native(path, layer=layer, max_lanes=1),), groups),
        ]
        timings = setting.time(cases)
        section.keep(timings)
        best = timings[title, SIDE_BY_SIDE]
        for label, timing in timings.items():
            ratio = f"{timing.median_wall / best.median_wall:.2f}" if timing.wall and best.wall else ""
            table.rows.append([*label, timing.rate, timing.spread, timing.cpu_per_text, timing.peak, ratio])
    section.tables.append(table)
    return section
