"""Explanations as a page: one file, without network, in light and in dark, readable without colours."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastplr.explanation import Explanation, Span

__all__ = ["as_fragment", "as_page", "full_colours", "strength"]

N_STRONGEST = 10

# Blue and orange are told apart by nearly everybody (Okabe & Ito, Color Universal Design, 2008); the line under a word,
# whole or broken, says the same without colour, and stands below the tint so that it shows on a strong one. --most is
# the most of a colour that leaves text a contrast of 4.5 to 1.
_LIGHT = "--for:0,114,178;--against:213,94,0;--most:.6;--ink:#1b1f24;--soft:#56606b;--line:#d5dae0;--paper:#fff"
_DARK = "--for:86,180,233;--against:230,137,40;--most:.5;--ink:#e8ebee;--soft:#9aa5b1;--line:#3a424c;--paper:#15191e"
# A notebook has a scheme of its own, whatever that of the system.
_SCHEMES = (
    f".fastplr{{{_LIGHT}}}@media(prefers-color-scheme:dark){{.fastplr{{{_DARK}}}}}"
    f"[data-jp-theme-light=true] .fastplr,.vscode-light .fastplr{{{_LIGHT}}}"
    f"[data-jp-theme-light=false] .fastplr,.vscode-dark .fastplr{{{_DARK}}}"
)
_RULES = """
.fastplr{font:16px/1.75 system-ui,sans-serif;color:var(--ink);background:var(--paper);
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.fastplr article{border:1px solid var(--line);border-radius:8px;padding:.7em 1em;margin:1em 0}
.fastplr header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.2em 1.2em;font-size:.875em;color:var(--soft)}
.fastplr header b{color:var(--ink)}
.fastplr .wrong{border:1px solid;border-radius:1em;padding:0 .7em}
.fastplr p.text{margin:.5em 0;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext}
.fastplr .for,.fastplr .against{background-color:rgba(var(--tone),calc(var(--s)*var(--most)));
background-clip:padding-box;border-bottom:2px solid rgba(var(--tone),calc(.3 + .7*var(--s)));
border-radius:3px 3px 0 0;padding-top:2px}
.fastplr .for{--tone:var(--for)}.fastplr .against{--tone:var(--against);border-bottom-style:dashed}
.fastplr .pale{background:none;border-bottom-style:dotted}
.fastplr p.text span:hover{outline:1px solid}
.fastplr footer{font-size:.875em;color:var(--soft)}.fastplr footer p{margin:.2em 0;overflow-wrap:anywhere}
.fastplr summary{cursor:pointer}
.fastplr table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums}
.fastplr td,.fastplr th{padding:.1em 1.2em .1em 0;text-align:left;border-bottom:1px solid var(--line)}
.fastplr details td:first-child{max-width:min(20em,40vw);overflow:hidden;text-overflow:ellipsis;white-space:nowrap;
color:var(--ink)}
.fastplr h2{font-size:1.15em;line-height:1.4;margin:1.2em 0 .2em}.fastplr h3{font-size:1em;margin:.4em 0 0}
.fastplr .overview{display:flex;flex-wrap:wrap;gap:0 3em}.fastplr footer p{margin:.2em 0}
.fastplr .filters{display:flex;flex-wrap:wrap;gap:.5em 1.2em;align-items:center;margin:1em 0}
.fastplr .filters[hidden]{display:none}
.fastplr select,.fastplr input{font:inherit;line-height:1.5;color:inherit;background:var(--paper);
border:1px solid var(--soft);border-radius:4px;padding:.1em .3em;max-width:100%;box-sizing:border-box}
.fastplr input[type=number]{width:4em}
div.fastplr,div.fastplr article{margin:0;border-radius:8px}
""".replace("\n", "")
_STYLE = _SCHEMES + _RULES

_PAGE_STYLE = "body.fastplr{max-width:56em;margin:0 auto;padding:1em}h1{font-size:1.5em;line-height:1.3}"

# An empty bound is none.
_SCRIPT = """
(function(){var f=document.getElementById('filters');if(!f)return;f.hidden=false;
function bound(field,none){return field.value===''?none:+field.value/100;}
function show(){var n=0,c=f.predicted.value,t=f.truth?f.truth.value:'',e=f.errors?f.errors.checked:false,
lo=bound(f.low,0),hi=bound(f.high,1);
document.querySelectorAll('article').forEach(function(a){var d=a.dataset,p=+d.confidence,
ok=(!c||d.predicted===c)&&(!t||d.truth===t)&&(!e||d.wrong==='1')&&p>=lo-1e-9&&p<=hi+1e-9;a.hidden=!ok;n+=ok;});
document.getElementById('shown').textContent=n;}
f.addEventListener('input',show);f.addEventListener('submit',function(e){e.preventDefault();});show();})();
""".replace("\n", "")

# The page asks for nothing and runs its own script alone, even if a text were not escaped.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    f"script-src 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'"
)


def strength(explanations: Sequence[Explanation]) -> float:
    """The value that is drawn in full colour: nearly the largest of all."""
    values = [abs(span.value) for one in explanations for span in one.spans]
    return max(float(np.quantile(values, 0.98)), 1e-12) if values else 1.0


def full_colours(explanations: Sequence[Explanation]) -> list[float]:
    """The value in full colour of each: its own, or one with large values would leave the others bare; but a text
    without much to show, beside the others, still looks so."""
    least = strength(explanations) / 4
    return [max(strength([one]), least) for one in explanations]


def as_fragment(explanation: Explanation, full: float | None = None) -> str:
    """One explanation, for a notebook or a page that has a style of its own; `full` is the value in full colour."""
    shown = _article(explanation, strength([explanation]) if full is None else full, None)
    return f"<style>{_STYLE}</style><div class='fastplr'>{shown}</div>"


def as_page(
    explanations: Sequence[Explanation],
    *,
    truth: Sequence[Any] | None = None,
    title: str = "fastplr: why",
    sections: str = "",
    notes: Sequence[Sequence[str]] | None = None,
) -> str:
    """A whole page with a filter by class, error and confidence.

    Args:
        explanations: In the order of the page.
        truth: The right label of each, where they are known.
        title: Of the page.
        sections: Trusted HTML between the legend and the texts; the page's policy lets no script of it run, and no
            picture load but one in a ``data:`` address.
        notes: Lines below each text.
    """
    articles = "".join(
        _article(one, full, None if truth is None else truth[number], () if notes is None else notes[number])
        for number, (one, full) in enumerate(zip(explanations, full_colours(explanations), strict=True))
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(title)}</title><style>{_PAGE_STYLE}{_STYLE}</style></head><body class='fastplr'>"
        f"<h1>{escape(title)}</h1>{_legend(explanations)}{sections}{_filters(explanations, truth)}{articles}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _legend(explanations: Sequence[Explanation]) -> str:
    pale = any(not span.stable for one in explanations for span in one.spans)
    return (
        "<p>What the words or phrases of each text say "
        "<span class='for' style='--s:.8'>for the label</span> (blue, whole line) or "
        "<span class='against' style='--s:.8'>against it</span> (orange, broken line), the more colour the more, "
        "text by text. "
        + (
            "<span class='for pale' style='--s:.8'>Dotted</span>: classifiers fitted to resampled training texts do "
            "not agree on the sign. "
            if pale
            else ""
        )
        + "Values are in logits: point at a word, or open the line below its text.</p>"
    )


def _filters(explanations: Sequence[Explanation], truth: Sequence[Any] | None) -> str:
    if len(explanations) < 2:
        return ""

    def choices(name: str, label: str, values: Sequence[Any]) -> str:
        options = "".join(
            f"<option value='{escape(value)}'>{escape(value)}</option>"
            for value in sorted({str(value) for value in values})
        )
        return f"<label>{label} <select name='{name}'><option value=''>any</option>{options}</select></label>"

    parts = [choices("predicted", "predicted", [one.predicted for one in explanations])]
    if truth is not None:
        parts.append(choices("truth", "label", truth))
        parts.append("<label><input type='checkbox' name='errors'> errors only</label>")
    parts.append(
        "<span><label>probability <input type='number' name='low' value='0' min='0' max='100'></label> "
        "<label>to <input type='number' name='high' value='100' min='0' max='100'> %</label></span>"
    )
    return (
        f"<form id='filters' class='filters' autocomplete='off' hidden>{''.join(parts)}"
        f"<span role='status'><b id='shown'>{len(explanations)}</b> of {len(explanations)} texts</span></form>"
    )


def _article(one: Explanation, full: float, truth: Any, notes: Sequence[str] = ()) -> str:
    wrong = truth is not None and str(truth) != str(one.predicted)
    facts = [f"<span>predicted {_label(one.predicted)} {one.confidence:.1%}</span>"]
    if str(one.label) != str(one.predicted):
        facts.append(f"<span>explained: {_label(one.label)} {one.probability:.1%}</span>")
    if truth is not None:
        facts.append(f"<span{' class=wrong>wrong, ' if wrong else '>'}label {_label(truth)}</span>")
    data = f"data-predicted='{escape(str(one.predicted))}' data-confidence='{one.confidence:.6f}'"
    if truth is not None:
        data += f" data-truth='{escape(str(truth))}' data-wrong='{int(wrong)}'"
    lines = "".join(f"<p>{escape(line)}</p>" for line in notes)
    return (
        f"<article {data}><header>{''.join(facts)}</header><p class='text' dir='auto'>{_marked(one, full)}</p>"
        f"<footer>{lines}{_sum_and_strongest(one)}</footer></article>"
    )


def _label(label: Any) -> str:
    return f"<b><bdi>{escape(str(label))}</bdi></b>"


def _sum(one: Explanation) -> str:
    logit = f"logit of <bdi>{escape(str(one.label))}</bdi> {_signed(one.logit, 2)}"
    cut = "; the text was cut to fit the context" if one.truncated else ""
    if one.method == "occlusion":
        return f"{logit}; values by taking words out, which do not add up{cut}"
    words = _signed(sum(span.value for span in one.spans), 2)
    prompt = f", of it the prompt's {_signed(one.prompt_value, 2)}" if one.prompt_value else ""
    return f"{logit} = words {words}, base {_signed(one.base_value, 2)}{prompt}; {escape(one.method)}{cut}"


def _sum_and_strongest(one: Explanation) -> str:
    """The largest values are in a list too, for who cannot point at a word: by touch, by keyboard, by ear."""
    ranked = sorted(one.spans, key=lambda span: -abs(span.value))[:N_STRONGEST]
    rows = "".join(f"<tr><td dir='auto'>{escape(span.text)}</td><td>{_value(span)}</td></tr>" for span in ranked)
    return f"<details><summary>{_sum(one)}</summary><table>{rows}</table></details>"


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
    text = escape(span.text)
    if share < 0.1:  # less colour, less noise
        return f"<span title='{_value(span)}'>{text}</span>"
    kind = ("for" if span.value > 0 else "against") + ("" if span.stable else " pale")
    return f"<span class='{kind}' style='--s:{share:.2f}' title='{_value(span)}'>{text}</span>"


def _value(span: Span) -> str:
    note = _signed(span.value, 3)
    if span.stderr is not None:
        note += f" ± {span.stderr:.3f}"
    if span.low is not None and span.high is not None:
        note += f" ({_signed(span.low, 3)} to {_signed(span.high, 3)})"
    return note


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
