"""Explanations as a page: one file, without network, in light and in dark, readable without colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastplr.explanation import Explanation, Span

__all__ = ["as_fragment", "as_page", "strength"]

# Blue and orange are told apart by nearly everybody (Okabe & Ito, Color Universal Design, 2008); the line under a word,
# whole or broken, says the same without colour.
_STYLE = """
.fastplr{--for:0,114,178;--against:213,94,0;--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--paper:#fff;
font:15px/1.7 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
@media(prefers-color-scheme:dark){.fastplr{--for:86,180,233;--against:230,137,40;--ink:#e8ebee;--soft:#9aa5b1;
--line:#3a424c;--paper:#15191e}}
.fastplr article{border:1px solid var(--line);border-radius:8px;padding:.7em 1em;margin:1em 0}
.fastplr header{display:flex;flex-wrap:wrap;gap:.2em 1.2em;font-size:.9em;color:var(--soft)}
.fastplr header b{color:var(--ink)}.fastplr .wrong b:last-child{text-decoration:underline wavy}
.fastplr p.text{margin:.5em 0;white-space:pre-wrap;overflow-wrap:anywhere}
.fastplr p.text span{border-radius:3px;padding:.1em 0;border-bottom:2px solid transparent}
.fastplr .for{background:rgba(var(--for),var(--a));border-bottom-color:rgba(var(--for),var(--l))!important}
.fastplr .against{background:rgba(var(--against),var(--a));
border-bottom:2px dashed rgba(var(--against),var(--l))!important}
.fastplr .pale{background:none;border-bottom-style:dotted!important}
.fastplr footer{font-size:.85em;color:var(--soft)}
.fastplr table{border-collapse:collapse}.fastplr td,.fastplr th{padding:.1em .7em;text-align:left;
border-bottom:1px solid var(--line)}
.fastplr .filters{display:flex;flex-wrap:wrap;gap:.5em 1.5em;align-items:center;margin:1em 0}
.fastplr select,.fastplr input{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line)}
""".replace("\n", "")

_PAGE_STYLE = "body.fastplr{max-width:60em;margin:0 auto;padding:1em}"

_SCRIPT = """
(function(){var f=document.getElementById('filters');if(!f)return;f.hidden=false;
function show(){var n=0,c=f.predicted.value,t=f.truth?f.truth.value:'',e=f.errors?f.errors.checked:false,
lo=+f.low.value/100,hi=+f.high.value/100;
document.querySelectorAll('article').forEach(function(a){var d=a.dataset,p=+d.confidence,
ok=(!c||d.predicted===c)&&(!t||d.truth===t)&&(!e||d.wrong==='1')&&p>=lo-1e-9&&p<=hi+1e-9;a.hidden=!ok;n+=ok;});
document.getElementById('shown').textContent=n;}
f.addEventListener('input',show);f.addEventListener('submit',function(e){e.preventDefault();});show();})();
""".replace("\n", "")


def strength(explanations: Sequence[Explanation]) -> float:
    """The value that is drawn in full colour: nearly the largest of all."""
    values = [abs(span.value) for one in explanations for span in one.spans]
    return max(float(np.quantile(values, 0.98)), 1e-12) if values else 1.0


def as_fragment(explanation: Explanation, full: float | None = None) -> str:
    """One explanation, for a notebook or a page that has a style of its own."""
    shown = _article(explanation, strength([explanation]) if full is None else full, None)
    return f"<style>{_STYLE}</style><div class='fastplr'>{shown}</div>"


def as_page(
    explanations: Sequence[Explanation],
    *,
    truth: Sequence[Any] | None = None,
    title: str = "fastplr: why",
    sections: str = "",
) -> str:
    """A whole page with a filter by class, error and confidence.

    Args:
        explanations: In the order of the page.
        truth: The right label of each, where they are known.
        title: Of the page.
        sections: Trusted HTML between the legend and the texts.
    """
    full = strength(explanations)
    articles = "".join(
        _article(one, full, None if truth is None else truth[number]) for number, one in enumerate(explanations)
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(title)}</title><style>{_PAGE_STYLE}{_STYLE}</style></head><body class='fastplr'>"
        f"<h1>{escape(title)}</h1>{_legend(explanations)}{sections}{_filters(explanations, truth)}{articles}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _legend(explanations: Sequence[Explanation]) -> str:
    pale = any(not span.stable for one in explanations for span in one.spans)
    return (
        "<p>Each text's words or phrases, by what they say for the label that is named: "
        "<span class='for' style='--a:.45;--l:1'>for it</span> (blue, whole line), "
        "<span class='against' style='--a:.45;--l:1'>against it</span> (orange, broken line), the more colour the "
        "more. "
        + ("Dotted: classifiers fitted to resampled training texts do not agree on the sign. " if pale else "")
        + "Point at a word for its value, in logits.</p>"
    )


def _filters(explanations: Sequence[Explanation], truth: Sequence[Any] | None) -> str:
    def choices(name: str, label: str, values: Sequence[Any]) -> str:
        options = "".join(f"<option>{escape(value)}</option>" for value in sorted({str(value) for value in values}))
        return f"<label>{label} <select name='{name}'><option value=''>any</option>{options}</select></label>"

    parts = [choices("predicted", "predicted", [one.predicted for one in explanations])]
    if truth is not None:
        parts.append(choices("truth", "label", truth))
        parts.append("<label><input type='checkbox' name='errors'> errors only</label>")
    parts.append(
        "<label>probability of the predicted label, %: <input type='number' name='low' value='0' min='0' max='100'>"
        "</label>"
        "<label>to <input type='number' name='high' value='100' min='0' max='100'></label>"
    )
    return (
        f"<form id='filters' class='filters' hidden>{''.join(parts)}"
        f"<span><b id='shown'>{len(explanations)}</b> of {len(explanations)} texts</span></form>"
    )


def _article(one: Explanation, full: float, truth: Any) -> str:
    wrong = truth is not None and str(truth) != str(one.predicted)
    facts = [f"<span>predicted <b>{escape(str(one.predicted))}</b></span>"]
    if str(one.label) != str(one.predicted) or one.probability != one.confidence:
        facts.append(f"<span>explained: <b>{escape(str(one.label))}</b></span>")
    facts.append(f"<span>probability of {escape(str(one.label))} <b>{one.probability:.1%}</b></span>")
    if truth is not None:
        facts.append(f"<span{' class=wrong' if wrong else ''}>label <b>{escape(str(truth))}</b></span>")
    data = f"data-predicted='{escape(str(one.predicted))}' data-confidence='{one.confidence:.6f}'"
    if truth is not None:
        data += f" data-truth='{escape(str(truth))}' data-wrong='{int(wrong)}'"
    return (
        f"<article {data}><header>{''.join(facts)}</header><p class='text' dir='auto'>{_marked(one, full)}</p>"
        f"<footer>{escape(_sum(one))}</footer></article>"
    )


def _sum(one: Explanation) -> str:
    words = sum(span.value for span in one.spans)
    prompt = f", of it the prompt's {one.prompt_value:+.2f}" if one.prompt_value else ""
    cut = "; the text was cut to fit the context" if one.truncated else ""
    if one.method == "occlusion":
        return f"logit of {one.label} {one.logit:+.2f}; values by taking words out, which do not add up{cut}"
    return f"logit of {one.label} {one.logit:+.2f} = words {words:+.2f}, base {one.base_value:+.2f}{prompt}{cut}"


def _marked(one: Explanation, full: float) -> str:
    parts = []
    last = 0
    for span in one.spans:
        parts.append(escape(one.text[last : span.start]))
        parts.append(_mark(span, full))
        last = span.end
    parts.append(escape(one.text[last:]))
    return "".join(parts)


def _mark(span: Span, full: float) -> str:
    share = min(abs(span.value) / full, 1.0)
    kind = ("for" if span.value > 0 else "against") + ("" if span.stable else " pale")
    note = f"{span.value:+.3f}"
    if span.stderr is not None:
        note += f" ± {span.stderr:.3f}"
    if span.low is not None and span.high is not None:
        note += f" ({span.low:+.3f} to {span.high:+.3f})"
    text = escape(span.text)
    if share < 0.02:
        return f"<span title='{note}'>{text}</span>"
    style = f"--a:{0.6 * share:.2f};--l:{min(1.0, 0.2 + share):.2f}"
    return f"<span class='{kind}' style='{style}' title='{note}'>{text}</span>"
