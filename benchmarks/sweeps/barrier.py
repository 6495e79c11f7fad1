"""How long a thread that waits for another one spins before it sleeps."""

from __future__ import annotations

from harness.corpus import Group
from harness.models import MODELS
from harness.worker_process import RivalUnavailable
from sweeps.constants import constant, where
from sweeps.section import Section, Setting, Table, compared
from sweeps.timing import Case, libllama

__all__ = ["sweep"]

KEY = "smollm2-q4_0"
N_TEXTS = 34
N_BATCH = 512
NEVER = 2**31 - 1
N_ROUNDS = 5


def sweep(setting: Setting) -> Section:
    """One process that has the cores to itself, and two at once with as many threads each."""
    chosen = constant("GGML_BARRIER_SPINS")
    texts = setting.texts(N_TEXTS)
    section = Section(
        "Pauses before a waiting thread sleeps",
        f"""`GGML_BARRIER_SPINS` is {chosen} (`{where("GGML_BARRIER_SPINS")}`; llama.cpp's own barrier never sleeps).
        libllama with fastplr's patches computes {len(texts)} texts of {MODELS[KEY].title}, in one process and in two
        at the same time on the same cores, each with {setting.n_threads} threads. Two that lose nothing are together
        as fast as one alone.""",
    )
    try:
        path = setting.model_path(KEY)
    except RivalUnavailable as error:
        section.findings.append(f"Not measured: {error}.")
        return section
    programs = {n: f"spins-{n}" for n in (0, 256, 16384, NEVER)} | {chosen: "patched"}
    titles = {n: "never sleeps" if n == NEVER else str(n) for n in sorted(programs)}
    groups = (Group("", "", texts),)
    cases = []
    for n, title in titles.items():
        twins = [libllama(path, N_BATCH, N_BATCH, "--sort", which=programs[n], number=number) for number in (0, 1)]
        cases.append(Case((title, "alone"), (twins[0],), groups))
        cases.append(Case((title, "two at once"), tuple(twins), groups))
    setting.say("barrier")
    timings = setting.time(cases, N_ROUNDS)
    section.keep(timings)
    head = [
        "pauses",
        "alone, texts/s",
        "CPU, ms a text",
        "two at once, texts/s together",
        "CPU, ms a text",
        "together / alone",
    ]
    table = Table("", head, [])
    for title in titles.values():
        alone, both = timings[title, "alone"], timings[title, "two at once"]
        ratio = f"{2 * alone.median_wall / both.median_wall:.2f}" if alone.wall and both.wall else ""
        table.rows.append([title, alone.rate, alone.cpu_per_text, both.rate, both.cpu_per_text, ratio])
    section.tables.append(table)
    for how in ("alone", "two at once"):
        of_way = {title: timings[title, how] for title in titles.values()}
        section.findings += compared(f"{how.capitalize()}, pauses", of_way, str(chosen))
    return section
