"""A study as Markdown tables and as a page in one file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from fastplr.study.methods import METHODS
from fastplr.study.scores import METRICS
from fastplr.study.summary import Group, Mean, chance_of, crossings, groups, mean_of, number_of_bits, of_group, tasks_of
from fastplr.study.tasks import WORDINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_html", "as_markdown", "learning_curves", "tables"]

Row = Mapping[str, Any]
Table = tuple[str, str, list[str], list[list[str]]]  # title, remark, head, rows

#: Methods that learn from no numbered rows.
FLAT = ("zero-shot", "zero-shot calibrated", "few-shot", "endpoint")
#: What PLR-E has to pass.
BASELINES = (*FLAT, "plr-l", "tf-idf")
#: Rows of each class of the tables that show one number of them.
AT = 75
#: How widths are told apart in a picture; methods have colours, and those that learn markers.
LINES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
OVER_DRAWS = (
    "± is the half width of a 95 % interval over draws of the training rows, left out where draws share most of"
    " their rows; it "
    "says nothing of other test rows."
)

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto;background:#fff}small{color:#555}"
    "@media (prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}small{color:#aaa}}"
)


# -- what is shown of which rows --------------------------------------------------------------------------------------


def _settings(every: Sequence[Group]) -> list[tuple[str, str]]:
    """Models of this machine, each with the wordings that it was asked in."""
    return sorted({(one.model, one.wording) for one in every if one.model and one.method != "endpoint"})


def _baselines(every: Sequence[Group], wording: str) -> list[Group]:
    """What is shown beside every model: methods without one, and the model elsewhere in the same wording."""
    return [one for one in every if not one.model or (one.method == "endpoint" and one.wording == wording)]


def _common_tasks(rows: Sequence[Row], some: Sequence[Group]) -> set[str]:
    """Tasks that every group has, at whatever number of rows."""
    return set.intersection(*(tasks_of(of_group(rows, group)) for group in some)) if some else set()


def _sizes(rows: Sequence[Row], some: Sequence[Group], tasks: set[str]) -> list[int]:
    """Rows of each class that every group that learns has for all of `tasks`."""
    learning = [of_group(rows, group) for group in some if group.method not in FLAT]
    every = sorted({row["n_per_class"] for own in learning for row in own})
    return [n for n in every if all(tasks <= tasks_of(own, n) for own in learning)]


def _at(rows: Sequence[Row], group: Group, n_per_class: int) -> list[Row]:
    """The rows of a group at so many rows of each class; of methods that learn from none, or from examples, all."""
    own = of_group(rows, group)
    return own if group.method in FLAT else [row for row in own if row["n_per_class"] == n_per_class]


def _closest(sizes: Sequence[int], wanted: int) -> int:
    return min(sizes, key=lambda n: abs(n - wanted)) if sizes else wanted


def _counted(tasks: set[str]) -> str:
    return f"{len(tasks)} tasks" if len(tasks) > 6 else ", ".join(sorted(tasks))


def _cell(mean: Mean | None) -> str:
    return "" if mean is None else str(mean)


# -- tables -----------------------------------------------------------------------------------------------------------


def tables(rows: Sequence[Row]) -> list[Table]:
    """All tables: models beside each other; for each model and wording means, learning curves, crossings, tasks."""
    every = groups(rows)
    found = _compared(rows, every)
    for model, wording in _settings(every):
        own = [one for one in every if (one.model, one.wording) == (model, wording)]
        shown = own + _baselines(every, wording)
        tasks = _common_tasks(rows, shown) or _common_tasks(rows, own)
        if not tasks:
            continue
        where = f"{model}, wording '{wording}'"
        found += [_means(rows, shown, tasks, where), _curves(rows, shown, tasks, where)]
        found += _crossing_tables(rows, shown, tasks, where)
        found += [_by_task(rows, shown, tasks, where, bits) for bits in dict.fromkeys(one.bits for one in own)]
    if not _settings(every) and every:
        tasks = _common_tasks(rows, every)
        found.append(_curves(rows, every, tasks, "no model of this machine"))
    return [one for one in found if one[3]]


def _compared(rows: Sequence[Row], every: Sequence[Group]) -> list[Table]:
    """Models, widths and wordings beside each other, where there are several, on the tasks that all of them have."""
    local = [one for one in every if one.model and one.method != "endpoint"]
    settings = sorted(
        {(one.model, one.bits, one.wording) for one in local}, key=lambda one: (one[0], one[2], number_of_bits(one[1]))
    )
    methods = [name for name in METHODS if any(one.method == name for one in local)]
    tasks = _common_tasks(rows, local)
    if len(settings) < 2 or not tasks:
        return []
    n = _closest(_sizes(rows, local, tasks), AT)
    lines = []
    for model, bits, wording in settings:
        own = [Group(name, model, bits, wording) for name in methods]
        values = [_cell(mean_of(_at(rows, group, n), "balanced_accuracy", tasks)) for group in own]
        known = [row for group in own for row in of_group(rows, group) if "bits_per_weight" in row]
        held = f"{known[0]['bits_per_weight']:.2f}" if known else ""
        lines.append([model, bits, held, wording, *values])
    remark = (
        f"Balanced accuracy, mean over {_counted(tasks)}; methods that learn, from {n} rows of each class. {OVER_DRAWS}"
    )
    head = ["model", "bits asked for", "bits a weight", "wording", *methods]
    return [("Models, widths and wordings", remark, head, lines)]


def _means(rows: Sequence[Row], some: Sequence[Group], tasks: set[str], where: str) -> Table:
    lines = []
    n = _closest(_sizes(rows, some, tasks), AT)
    for group in some:
        own = _at(rows, group, n)
        values = [_cell(mean_of(own, metric, tasks)) for metric in METRICS]
        if any(values):
            chance = mean_of(own, "calibration_error_by_chance", tasks)
            tested = sorted({row["n_test"] for row in own})
            shown = f"{tested[0]}" if len(tested) == 1 else f"{tested[0]} to {tested[-1]}"
            lines.append([group.name(some), *values, "" if chance is None else f"{chance.value:.3f}", shown])
    remark = (
        f"Means over {_counted(tasks)}; methods that learn, from {n} rows of each class. {OVER_DRAWS} The last"
        f" column but one"
        " is the calibration error that probabilities which are right would have by chance, with as many test rows."
    )
    head = ["method", *METRICS.values(), "of it by chance", "test rows"]
    return f"Means: {where}", remark, head, lines


def _curves(rows: Sequence[Row], some: Sequence[Group], tasks: set[str], where: str) -> Table:
    sizes = _sizes(rows, some, tasks)
    lines = []
    for group in some:
        values = [_cell(mean_of(_at(rows, group, n), "balanced_accuracy", tasks)) for n in sizes]
        if group.method in FLAT:
            flat = _cell(mean_of(of_group(rows, group), "balanced_accuracy", tasks))
            values = [flat, *[""] * (max(len(sizes), 1) - 1)]
        if any(values):
            lines.append([group.name(some), *values])
    remark = (
        f"Balanced accuracy, mean over {_counted(tasks)}. {OVER_DRAWS} Of methods that learn from no numbered rows"
        f" the one value"
        " stands in the first column."
    )
    chance = chance_of(rows, tasks)
    if chance is not None and lines:
        lines.append(["always the same label", f"{chance:.3f}", *[""] * (max(len(sizes), 1) - 1)])
    head = ["method", *(f"{n} rows a class" for n in sizes)] if sizes else ["method", "value"]
    return f"Learning curves: {where}", remark, head, lines


def _crossing_tables(rows: Sequence[Row], some: Sequence[Group], tasks: set[str], where: str) -> list[Table]:
    """For each task the rows of each class from which on PLR-E is not below each baseline."""
    found = []
    for group in some:
        if group.method != "plr-e":
            continue
        others = [one for one in some if one.method in BASELINES and one.bits in (group.bits, "")]
        if not others:
            continue
        lines = []
        for task in [*sorted(tasks), None]:
            wanted = tasks if task is None else {task}
            lines.append([task or "mean of tasks", *(_crossing(rows, group, other, wanted) for other in others)])
        remark = (
            "The fewest rows of each class from which on the mean over draws of PLR-E is not below, in balanced"
            " accuracy, on the same test rows; ≤ where that is the fewest that were tried, - where it is never. In"
            " brackets the fewest and the most of single draws, where they differ."
        )
        bits = f", {group.bits} bits" if group.bits != "source" else ""
        head = ["task", *(one.method for one in others)]
        found.append((f"Rows until PLR-E passes: {where}{bits}", remark, head, lines))
    return found


def _crossing(rows: Sequence[Row], group: Group, other: Group, tasks: set[str]) -> str:
    metric = "balanced_accuracy_of_few_shot_rows" if other.method == "few-shot" else "balanced_accuracy"
    own = [row for one in (group, other) for row in of_group(rows, one) if row["task"] in tasks]
    sizes = _sizes(own, [group, other], tasks)

    def shown(seed: int | None) -> str | None:
        """Of one draw, or of the mean over draws."""
        of_draw = [row for row in own if row["method"] in FLAT or seed in (None, row["seed"])]
        differences = []
        for n in sizes:
            mine, theirs = (mean_of(_at(of_draw, one, n), metric, tasks) for one in (group, other))
            if mine is not None and theirs is not None:
                differences.append((n, mine.value - theirs.value))
        if not differences:
            return None
        found = crossings(differences, 0.0)
        return "-" if found is None else f"≤ {found}" if found == differences[0][0] else str(found)

    of_mean = shown(None)
    if of_mean is None:
        return ""
    draws = {shown(seed) for seed in {row["seed"] for row in own if row["method"] == group.method}} - {None}
    ordered = [text for text in (f"≤ {sizes[0]}", *map(str, sizes), "-") if text in draws]
    return of_mean if len(ordered) < 2 else f"{of_mean} ({ordered[0]} to {ordered[-1]})"


def _by_task(rows: Sequence[Row], some: Sequence[Group], tasks: set[str], where: str, bits: str) -> Table:
    own = [one for one in some if one.bits in (bits, "")]
    n = _closest(_sizes(rows, own, tasks), AT)
    lines = [
        [task, *(_cell(mean_of(_at(rows, group, n), "balanced_accuracy", {task})) for group in own)]
        for task in sorted(tasks)
    ]
    name = f"{bits} bits" if bits != "source" else "as fetched"
    remark = f"Balanced accuracy; methods that learn, from {n} rows of each class. {OVER_DRAWS}"
    return f"By task: {where}, {name}", remark, ["task", *(one.method for one in own)], lines


# -- as text and as a page --------------------------------------------------------------------------------------------


def as_markdown(rows: Sequence[Row], title: str, about: Sequence[str]) -> str:
    """Headings and tables."""
    parts = [f"# {title}", *about, "\n".join(f"- **{name}**: {what}." for name, what in _glossary(rows))]
    for heading, remark, head, lines in tables(rows):
        parts += [f"## {heading}", remark, _markdown_table(head, lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["--:"] * (len(head) - 1)]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in [head, rule, *lines]]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _glossary(rows: Sequence[Row]) -> list[tuple[str, str]]:
    used = {row["method"] for row in rows} | {row["wording"] for row in rows}
    return [(name, what) for name, what in {**METHODS, **WORDINGS}.items() if name in used]


def as_html(rows: Sequence[Row], title: str, about: Sequence[str]) -> str:
    """A page in one file, without a network, scripts or anything to load."""
    parts = [f"<p>{escape(line)}</p>" for line in about]
    parts.append(
        "<ul>" + "".join(f"<li><b>{escape(name)}</b>: {escape(what)}</li>" for name, what in _glossary(rows)) + "</ul>"
    )
    try:
        drawing = learning_curves(rows)
        if drawing is not None:
            text = io.StringIO()
            drawing.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            parts.append(text.getvalue()[text.getvalue().index("<svg") :])
    except ImportError:
        parts.append("<p><small>Pictures need matplotlib: pip install 'fastplr[plot]'.</small></p>")
    for heading, remark, head, lines in tables(rows):
        body = "".join(_html_row("td", line) for line in lines)
        parts.append(f"<h2>{escape(heading)}</h2><p>{escape(remark)}</p><table>{_html_row('th', head)}{body}</table>")
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'>{policy}<title>{escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{''.join(parts)}</html>\n"
    )


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def learning_curves(rows: Sequence[Row]) -> Figure | None:
    """Balanced accuracy over rows of each class, a panel for each model and wording. Raises ImportError."""
    from matplotlib.figure import Figure

    every = groups(rows)
    settings = _settings(every)
    if not settings:
        return None
    figure = Figure(figsize=(7.5, 4.6 * len(settings)), layout="constrained")
    for number, (model, wording) in enumerate(settings):
        own = [one for one in every if (one.model, one.wording) == (model, wording)]
        shown = own + _baselines(every, wording)
        tasks = _common_tasks(rows, shown) or _common_tasks(rows, own)
        sizes = _sizes(rows, shown, tasks)
        axes = figure.add_subplot(len(settings), 1, number + 1)
        widths = list(dict.fromkeys(group.bits for group in shown if group.bits))
        for group in shown:
            flat = group.method in FLAT
            points = [(n, mean_of(_at(rows, group, n), "balanced_accuracy", tasks)) for n in sizes]
            known = [(n, mean) for n, mean in points if mean is not None]
            if not known:
                continue
            width = widths.index(group.bits) if group.bits else 0
            axes.errorbar(
                [n for n, _ in known], [mean.value for _, mean in known],
                yerr=None if flat else [mean.half_width for _, mean in known], label=group.name(own),
                color=f"C{list(METHODS).index(group.method)}", linestyle=LINES[width % len(LINES)],
                linewidth=1 if flat else 1.6, marker="" if flat else MARKERS[width % len(MARKERS)], markersize=4,
                capsize=2,
            )  # fmt: skip
        chance = chance_of(rows, tasks)
        if chance is not None:
            axes.axhline(chance, color="0.6", linewidth=0.8, label="always the same label")
        if sizes:
            axes.set_xscale("log")
            axes.set_xticks(sizes, [str(n) for n in sizes])
            axes.minorticks_off()
        axes.set_xlabel("labelled rows of each class")
        axes.set_ylabel("balanced accuracy")
        axes.set_title(f"{model}, wording '{wording}': mean of {_counted(tasks)}", fontsize=9)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
