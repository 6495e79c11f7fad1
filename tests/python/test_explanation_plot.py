"""Explanations as pictures."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastplr import Explanation, InputError
from fastplr.explanation import Span
from fastplr.explanation_plot import draw
from fastplr.explanation_text import AGAINST, FOR

matplotlib = pytest.importorskip("matplotlib")
Figure = pytest.importorskip("matplotlib.figure").Figure


def explained(*spans: tuple[str, float], label: Any = "fraud", **more: Any) -> Explanation:
    """Of words in a row; `more` goes to each span."""
    starts = np.cumsum([0, *(len(text) + 1 for text, _ in spans)])
    found = tuple(
        Span(int(start), int(start) + len(text), text, value, **more)
        for start, (text, value) in zip(starts, spans, strict=False)
    )
    text = " ".join(text for text, _ in spans)
    return Explanation(text, label, "surrogate", found, 0.5, 0.0, 1.5, label, 0.9, 0.9)


def names(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def widths(ax: Any) -> list[float]:
    return [bar.get_width() for bar in ax.patches]


def whiskers(ax: Any) -> list[tuple[float, float, float]]:
    """Row, low and high of each."""
    [lines] = ax.collections
    return [(line[0][1], line[0][0], line[1][0]) for line in lines.get_segments()]


def test_a_bar_for_each_span_in_reading_order_from_the_top() -> None:
    ax = draw(explained(("my", 0.1), ("card", -0.5), ("was", 0.0), ("stolen", 1.25)))
    assert names(ax) == ["my", "card", "was", "stolen"]
    assert widths(ax) == [0.1, -0.5, 0.0, 1.25]
    heights = ax.transData.transform([(0, bar.get_y()) for bar in ax.patches])[:, 1]
    assert (np.diff(heights) < 0).all()
    assert [bar.get_y() + bar.get_height() / 2 for bar in ax.patches] == pytest.approx(ax.get_yticks())


def test_the_strongest_of_many_stay_in_reading_order() -> None:
    values = [0.1, -3.0, 0.2, 2.0, -0.3, 1.0]
    one = explained(*((f"w{k}", value) for k, value in enumerate(values)))
    ax = draw(one, n_spans=3)
    assert names(ax) == ["w1", "w3", "w5"]
    assert widths(ax) == [-3.0, 2.0, 1.0]
    assert "3 strongest of 6" in ax.get_title(loc="left")
    assert "strongest" not in draw(one, n_spans=6).get_title(loc="left")
    assert len(draw(explained(*((str(k), 1.0) for k in range(25)))).patches) == 20


def test_signs_have_colours_and_hatching_of_their_own() -> None:
    bars = draw(explained(("for", 1.0), ("against", -1.0))).patches
    for bar, tone in zip(bars, (FOR, AGAINST), strict=True):
        assert bar.get_facecolor()[:3] == pytest.approx([part / 255 for part in tone])
    assert [bool(bar.get_hatch()) for bar in bars] == [False, True]


def test_what_is_not_stable_is_pale() -> None:
    sure, vague = (draw(explained(("word", 0.5), low=low, high=1.0)).patches[0] for low in (0.1, -0.1))
    assert vague.get_facecolor()[3] < 0.3 < sure.get_facecolor()[3]
    assert vague.get_linestyle() != sure.get_linestyle()


def test_whiskers_are_intervals_else_standard_errors() -> None:
    sampled = explained(("my", 0.5), ("card", -0.25), stderr=0.125)
    ax = draw(sampled)
    assert whiskers(ax) == [(0, 0.375, 0.625), (1, -0.375, -0.125)]
    assert "standard error" in ax.get_xlabel()
    # Intervals take precedence, and one that does not hold the value is drawn as it is.
    both = replace(sampled, spans=tuple(replace(span, low=-0.75, high=-0.5) for span in sampled.spans))
    ax = draw(both)
    assert whiskers(ax) == [(0, -0.75, -0.5), (1, -0.75, -0.5)]
    assert "5 to 95 %" in ax.get_xlabel()
    assert "standard error" not in ax.get_xlabel()
    plain = draw(explained(("my", 0.5)))
    assert whiskers(plain) == []
    assert "whiskers" not in plain.get_xlabel()


def test_title_and_axis_say_what_is_explained() -> None:
    one = explained(("card", 1.0))
    ax = draw(one)
    assert ax.get_xlabel() == "logit of fraud"
    assert ax.get_title(loc="left") == "predicted fraud 90.0%"
    other = draw(replace(one, label="service", probability=0.04))
    assert other.get_xlabel() == "logit of service"
    assert other.get_title(loc="left") == "predicted fraud 90.0%, explained: service 4.0%"


@pytest.mark.parametrize("settings", [{}, {"text.usetex": True}, {"svg.fonttype": "none"}])
def test_texts_are_not_read_as_tex(tmp_path: Path, settings: dict[str, Any]) -> None:
    texts = ["$5", "$x^2$", r"$\frac{", r"\input{/etc/passwd}", "a_b", "100%", "--><script>"]
    with matplotlib.rc_context(settings):
        # Numbers at the ticks are matplotlib's own, and would ask for TeX.
        ax = draw(explained(*((text, 1.0) for text in texts), label=r"$\bad{label$"))
        ax.set_xticks([])
        ax.figure.savefig(tmp_path / "why.svg")
    assert names(ax) == texts
    assert r"$\bad{label$" in ax.get_title(loc="left")
    assert r"$\bad{label$" in ax.get_xlabel()
    root = ElementTree.parse(tmp_path / "why.svg").getroot()
    assert not [one for one in root.iter() if one.tag.endswith("script")]
    if settings.get("svg.fonttype"):
        written = {one.text for one in root.iter("{http://www.w3.org/2000/svg}text")}
        assert written >= set(texts)


def test_any_text_can_be_drawn_without_a_warning(tmp_path: Path) -> None:
    texts = [
        "two\nlines\tand\r\na tab",
        "bell\x07 null\x00 escape\x1b[31m",
        "right\u202eto left",
        "\ud800 half of a pair",
        "\uffff no character",
        "שלום", "لم أقم بهذه", "카드가", "中文字", "ไทย", "😀👍🏽", "👩‍👩‍👧", "می‌خواهم", "\U0010fffd",
        "x" * 5000,
        "中" * 50,
        " ",
        "",
    ]  # fmt: skip
    ax = draw(explained(*((text, 1.0) for text in texts)))
    for ending in ("png", "svg", "pdf"):
        ax.figure.savefig(tmp_path / f"why.{ending}")  # a warning is an error in these tests
    ElementTree.parse(tmp_path / "why.svg")
    shown = names(ax)
    assert shown[0] == "two lines and a tab"
    assert all(character.isprintable() or character in "\u200c\u200d" for name in shown for character in name)
    assert shown[2] == "right\ufffdto left"
    assert max(map(len, shown)) < 50
    assert shown[texts.index("x" * 5000)].endswith("x…")
    assert len(shown[texts.index("中" * 50)]) < 25


def test_another_font_has_what_the_chosen_one_lacks(tmp_path: Path) -> None:
    # Both come with matplotlib: the first has no such face, DejaVu Sans has.
    with matplotlib.rc_context({"font.family": "STIXGeneral"}):
        ax = draw(explained(("😀", 1.0)))
        ax.figure.savefig(tmp_path / "why.png")  # a warning is an error in these tests
    assert names(ax) == ["😀"]
    first, *others = ax.get_yticklabels()[0].get_fontfamily()
    assert first == "STIXGeneral"
    assert others


@pytest.mark.parametrize("spans", [(), (("word", 0.0),)])
def test_nothing_to_show_is_a_picture_too(tmp_path: Path, spans: tuple[tuple[str, float], ...]) -> None:
    ax = draw(explained(*spans))
    assert widths(ax) == [0.0] * len(spans)
    assert ("no words" in ax.get_title(loc="left")) == (not spans)
    low, high = ax.get_xlim()
    assert low < 0 < high
    ax.figure.savefig(tmp_path / "why.png")


def test_files(tmp_path: Path) -> None:
    from matplotlib.image import imread

    figure = draw(explained(("my", 0.1), ("card", -0.5), ("was", 0.3), low=-1.0, high=1.0)).figure
    figure.savefig(tmp_path / "why.svg")
    figure.savefig(tmp_path / "why.png")
    assert ElementTree.parse(tmp_path / "why.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    picture = imread(tmp_path / "why.png")[..., :3]
    assert picture.shape[0] > 200
    assert picture.shape[1] == 800
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    # All that is written stands inside.
    assert (picture[[0, -1]] == 1).all()
    assert (picture[:, [0, -1]] == 1).all()


def test_given_axes_are_used_and_a_figure_of_its_own_is_of_no_window() -> None:
    left, right = Figure().subplots(1, 2)
    assert draw(explained(("card", 1.0)), right) is right
    assert len(right.patches) == 1
    assert not left.patches
    own = draw(explained(("card", 1.0))).figure
    assert own is not right.figure
    assert own.canvas.manager is None


def test_at_least_one_span() -> None:
    with pytest.raises(InputError, match="n_spans is 0"):
        draw(explained(("card", 1.0)), n_spans=0)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fastplr\[plot\]'"):
        draw(explained(("card", 1.0)))
