"""A report as text, as a page and as a picture."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["as_html", "as_text", "picture"]

Table = tuple[list[str], list[list[str]]]
Section = tuple[str, str, Table | None]  # title, remark, table

N_SHOWN = 10

_SCORES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
}
_BY = {True: "folds", False: "leave-one-out"}
_TWO_KINDS = (
    "All were screened by leave-one-out of ridge regression; the choice is among those compared by folds of logistic "
    "regression (filled in the picture, the others hollow), whose log-loss is of other fits."
)
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}th,td{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}"
    "svg{max-width:100%;height:auto}small{color:#666}"
)


def as_text(report: Mapping[str, Any]) -> str:
    """Several lines."""
    parts = []
    for title, remark, table in _sections(report, None):
        lines = [title, *textwrap.wrap(remark, 100, initial_indent="  ", subsequent_indent="  ")]
        if table is not None and table[1]:
            lines += [f"  {line}" for line in _aligned(table)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def as_html(report: Mapping[str, Any], texts: Sequence[str] | None) -> str:
    """A page in one file. `texts` are the training texts, shown beside disputed labels."""
    parts = []
    for title, remark, table in _sections(report, texts):
        parts.append(f"<h2>{escape(title)}</h2>")
        if remark:
            parts.append(f"<p>{escape(remark)}</p>")
        if table is not None and table[1]:
            head, rows = table
            parts.append(f"<table>{_html_row('th', head)}{''.join(_html_row('td', row) for row in rows)}</table>")
    try:
        drawing = _svg(picture(report))
    except ImportError:
        drawing = "<p><small>Pictures need matplotlib: pip install 'fastplr[plot]'.</small></p>"
    return (
        f"<!doctype html><meta charset='utf-8'><title>fastplr report</title><style>{_STYLE}</style>"
        f"<h1>fastplr report</h1>{''.join(parts)}{drawing}"
    )


def picture(report: Mapping[str, Any]) -> Figure:
    """Held-out log-loss over penalties and over layers, and the learning curve. Raises ImportError."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    figure = Figure(figsize=(13, 4), layout="constrained")
    drawings = [_draw_penalties, _draw_layers] if report["candidates"] else []
    if "learning_curve" in report:
        drawings.append(_draw_learning_curve)
    for number, draw in enumerate(drawings):
        draw(figure.add_subplot(1, len(drawings), number + 1), report)
    return figure


def _sections(report: Mapping[str, Any], texts: Sequence[str] | None) -> list[Section]:
    chosen = (
        f"{report['model']['name']}, layer {report['layer']} of {report['n_layers']}, {report['pooling']} pooling, "
        f"C {report['C']:.4g}, temperature {report['temperature']:.2f}; "
        f"{report['n_texts']} texts in {len(report['classes'])} classes"
    )
    found: list[Section] = [("Classifier", chosen, None)]
    if "estimate" in report:
        found += _held_out(report, texts)
    else:
        found.append(
            (
                "Estimate",
                "Not computed: there were too few texts, or it was not asked for before saving or pickling.",
                None,
            )
        )
    if "learning_curve" in report:
        found.append(_more_labels(report["learning_curve"]))
    if report["candidates"]:
        found.append(_compared(report["candidates"]))
    return found


def _held_out(report: Mapping[str, Any], texts: Sequence[str] | None) -> list[Section]:
    about = report["estimate"]
    honest = (
        f"By nested cross-validation of {about['n_rows']} texts in {about['n_folds']} folds: of texts that neither the "
        "fit nor the choice of layer, pooling and penalty had seen. Intervals are 95 %."
    )
    scores = [[name, *_with_interval(report["estimate"][key])] for key, name in _SCORES.items()]
    classes = [
        [
            str(one["label"]),
            str(one["n_rows"]),
            " ".join(_with_interval(one["precision"])),
            " ".join(_with_interval(one["recall"])),
            f"{one['f1']:.2f}",
        ]
        for one in report["per_class"]
    ]
    pairs = [[str(one["true"]), str(one["predicted"]), str(one["n_rows"])] for one in report["confusions"]]
    return [
        ("What to expect on new texts", honest, (["", "estimate", "interval"], scores)),
        ("Classes", "", (["label", "texts", "precision", "recall", "F1"], classes)),
        ("Confusions", _of_all(pairs) if pairs else "None.", (["label", "taken for", "texts"], pairs[:N_SHOWN])),
        _disputed(report["disputed"], texts),
    ]


def _more_labels(curve: Mapping[str, Any]) -> Section:
    gain = curve["gain"]
    remark = (
        f"{curve['n_more']} more labels: balanced accuracy {gain['value']:+.3f} "
        f"({gain['low']:+.3f} to {gain['high']:+.3f}), by the slope of these points over 1 / sqrt(texts). They are "
        "fits at the layer, pooling and penalty that all texts chose, and a little too good for that."
    )
    points = [[f"{one['n_rows']:.0f}", f"{one['balanced_accuracy']:.3f}"] for one in curve["points"]]
    return "More labels", remark, (["texts", "balanced accuracy"], points)


def _compared(candidates: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [
            str(one["layer"]),
            one["pooling"],
            f"{one['C']:.3g}",
            f"{one['log_loss']:.3f} ± {one['standard_error']:.3f}",
            _BY[one["confirmed"]],
        ]
        for one in candidates
    ]
    head = ["layer", "pooling", "C", "held-out log-loss", "by"]
    remark = "" if all(one["confirmed"] for one in candidates) else _TWO_KINDS
    return "Layers and poolings compared", f"{remark} {_of_all(rows)}".strip(), (head, rows[:N_SHOWN])


def _disputed(rows: Sequence[Mapping[str, Any]], texts: Sequence[str] | None) -> Section:
    title = "Disputed labels"
    if not rows:
        return title, "None: no text whose label got a probability of at most 0.2 from fits that had not seen it.", None
    head = ["row", "label", "its probability", "predicted", *(["text"] if texts is not None else [])]
    table = [
        [
            str(one["row"] + 1),
            str(one["label"]),
            f"{one['probability']:.3f}",
            str(one["predicted"]),
            *([texts[one["row"]][:200]] if texts is not None else []),
        ]
        for one in rows[:N_SHOWN]
    ]
    remark = "Worth a second look: right labels that are hard, or wrong ones. Rows are counted from 1."
    return title, f"{remark} {_of_all(rows)}".strip(), (head, table)


def _of_all(rows: Sequence[Any]) -> str:
    return f"The first {N_SHOWN} of {len(rows)}." if len(rows) > N_SHOWN else ""


def _with_interval(score: Mapping[str, float | None]) -> list[str]:
    value = "–" if score["value"] is None else f"{score['value']:.2f}"
    return [value, f"({score['low']:.2f} to {score['high']:.2f})"]


def _aligned(table: Table) -> list[str]:
    head, rows = table
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _svg(figure: Figure) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "fastplr"}):  # the same page each time
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw_penalties(axes: Axes, report: Mapping[str, Any]) -> None:
    for one in (one for one in report["candidates"] if one["confirmed"]):
        points = [(C, loss) for C, loss in zip(one["Cs"], one["curve"], strict=True) if math.isfinite(C)]
        if points:
            label = f"layer {one['layer']}, {one['pooling']}"
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    axes.set(xlabel="C", ylabel="held-out log-loss", title="penalty")
    if axes.lines:  # with no penalty there is nothing to draw
        axes.set_xscale("log")
        axes.legend(fontsize="small")
        if math.isfinite(report["C"]):
            axes.axvline(report["C"], color="grey", linewidth=1, linestyle=":")


def _draw_layers(axes: Axes, report: Mapping[str, Any]) -> None:
    poolings = sorted({one["pooling"] for one in report["candidates"]})
    for number, pooling in enumerate(poolings):
        for confirmed in (True, False):
            own = [one for one in report["candidates"] if (one["pooling"], one["confirmed"]) == (pooling, confirmed)]
            if own:
                aside = 0.2 * (number - (len(poolings) - 1) / 2)  # or they would hide each other
                axes.errorbar(
                    [one["layer"] + aside for one in own], [one["log_loss"] for one in own],
                    [one["standard_error"] for one in own], linestyle="none", marker="o", capsize=2, color=f"C{number}",
                    markerfacecolor=f"C{number}" if confirmed else "white", label=f"{pooling}, by {_BY[confirmed]}",
                )  # fmt: skip
    axes.axvline(report["layer"], color="grey", linewidth=1, linestyle=":")
    axes.set(xlabel="layer", ylabel="held-out log-loss at the best C", title="layer")
    axes.legend(fontsize="small")


def _draw_learning_curve(axes: Axes, report: Mapping[str, Any]) -> None:
    curve = report["learning_curve"]
    axes.errorbar(
        [one["n_rows"] for one in curve["points"]], [one["balanced_accuracy"] for one in curve["points"]],
        [one["deviation"] for one in curve["points"]], marker="o", capsize=2, label="measured",
    )  # fmt: skip
    ends = [report["n_texts"], report["n_texts"] + curve["n_more"]]
    axes.plot(ends, [curve["now"], curve["with_more"]], linestyle=":", marker="o", label="expected")
    axes.set(xlabel="labelled texts", ylabel="balanced accuracy", title="more labels")
    axes.legend(fontsize="small")
