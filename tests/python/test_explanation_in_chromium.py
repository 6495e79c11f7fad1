"""Pages of explanations in a browser: what they draw, run and ask for.

Debian: ``apt-get install --no-install-recommends chromium``.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastplr import Explanation
from fastplr.explanation import Span
from fastplr.explanation_page import as_fragment, as_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

SECONDS = 120  # for all tests of this file together, which take about four


class Browser:
    """Headless Chromium, by the DevTools protocol over a pipe: messages of JSON that end in a zero."""

    def __init__(self, folder: Path) -> None:
        flags = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe",
        )  # fmt: skip
        self._log = folder / "stderr.txt"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                # It reads from 3 and writes to 4.
                ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh", str(CHROMIUM), *flags],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._end_in_time = threading.Timer(SECONDS, self._kill)
        self._end_in_time.daemon = True
        self._end_in_time.start()
        self._unread = b""
        self._n_sent = 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._end_in_time.cancel()
        self._kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\0" not in self._unread:
            new = self._process.stdout.read1(1 << 20)
            if not new:
                raise RuntimeError(f"Chromium has ended: {self._log.read_text('utf-8', 'replace')[-2000:]}")
            self._unread += new
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters, **self._session}
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while (answer := self._read()).get("id") != self._n_sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path, *, scheme: str = "light", width: int = 1200) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.named("Page.loadEventFired"):
            self.events.append(self._read())

    def named(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] in methods]

    def evaluate(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def pixels(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        from PIL import Image

        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(np.int64)

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and whatever else stands in the console."""
        return self.named("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

    def asked_for(self) -> list[str]:
        return [params["request"]["url"] for params in self.named("Network.requestWillBeSent")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


def explained(
    text: str, values: Sequence[float], predicted: str = "fraud", confidence: float = 0.9, *, stable: bool = True
) -> Explanation:
    """Values go to what white space parts."""
    spans = tuple(
        Span(m.start(), m.end(), m.group(), value, None, *((value, value) if stable else (-1.0, 1.0)))
        for m, value in zip(re.finditer(r"\S+", text), values, strict=True)
    )
    return Explanation(text, predicted, "additive", spans, 0.5, 0.0, 1.5, predicted, confidence, confidence)


def write(path: Path, page: str) -> Path:
    path.write_text(page, "utf-8")
    return path


# In a page that does not escape it each part of this runs, whatever stands around words.
SCRIPT = "<script>document.title='ran'</script>"
HOSTILE = f"{SCRIPT} <svg/onload=document.title='ran'> '\" onload=document.title='ran' '{SCRIPT}"


@pytest.mark.parametrize("without_policy", [False, True])
def test_nothing_in_a_text_runs(browser: Browser, tmp_path: Path, without_policy: bool) -> None:
    hostile = explained(HOSTILE, [1.0] * 5, predicted=HOSTILE)
    between = replace(hostile, spans=hostile.spans[1:2])
    page = as_page(
        [hostile, between], truth=[HOSTILE, "'><b>"], title=f"</title>{HOSTILE}", notes=[[HOSTILE], [HOSTILE, "plain"]]
    )
    browser.call("Page.setBypassCSP", enabled=without_policy)  # escaping is enough, even without the second wall
    browser.open(write(tmp_path / "page.html", page))
    browser.call("Page.setBypassCSP", enabled=False)
    assert browser.evaluate("document.title") == f"</title>{HOSTILE}"
    texts = browser.evaluate("[...document.querySelectorAll('p.text')].map(e => e.textContent)")
    assert texts == [HOSTILE, HOSTILE]
    notes = browser.evaluate("[...document.querySelectorAll('footer p')].map(e => e.textContent)")
    assert notes == [HOSTILE, HOSTILE, "plain"]
    assert browser.evaluate("document.scripts.length") == 1
    known = "article header span b bdi p footer details summary table tbody tr td"
    assert set(browser.evaluate("[...document.querySelectorAll('article, article *')].map(e => e.localName)")) <= set(
        known.split()
    )
    written = browser.evaluate("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())")
    assert not [name for name in written if name.startswith("on")]
    assert not browser.complaints()


@pytest.mark.parametrize("without_policy", [False, True])
def test_the_policy_stops_what_is_not_escaped(browser: Browser, tmp_path: Path, without_policy: bool) -> None:
    section = (
        "<script>document.title += ' script'</script><img src='x:/' onerror=\"document.title += ' error'\">"
        "<img src='https://example.org/picture.png'><link rel=stylesheet href='https://example.org/style.css'>"
        "<video src='https://example.org/film.webm'></video>"
    )
    path = write(tmp_path / "page.html", as_page([explained("my card", [1, -1])], title="as it was", sections=section))
    browser.call("Page.setBypassCSP", enabled=without_policy)
    browser.open(path)
    browser.call("Page.setBypassCSP", enabled=False)
    # Without the policy all of it happens: this test can fail.
    assert (browser.evaluate("document.title") == "as it was") is not without_policy
    stopped = {params["requestId"] for params in browser.named("Network.loadingFailed") if params.get("blockedReason")}
    asked = [
        params["request"]["url"]
        for params in browser.named("Network.requestWillBeSent")
        if params["requestId"] not in stopped
    ]
    assert any("example.org" in url for url in asked) is without_policy


TEXTS = [
    explained("my card was stolen", [0.1, 0.9, -0.5, 1.0], "fraud", 0.95),
    explained("where is it", [0.9, -0.3, 0.2], "service", 0.55),
    explained("nobody answers", [1.0, 0.4], "complaint", 0.7),
    explained("is this fraud", [-0.2, 0.1, 0.8], "fraud", 0.6),
]
TRUTH = ["fraud", "complaint", "complaint", "service"]


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, [0, 1, 2, 3]),
        ({"predicted": "fraud"}, [0, 3]),
        ({"truth": "complaint"}, [1, 2]),
        ({"errors": True}, [1, 3]),
        ({"errors": True, "predicted": "fraud"}, [3]),
        ({"low": "60"}, [0, 2, 3]),
        ({"high": "60"}, [1, 3]),
        ({"low": "60", "high": "70"}, [2, 3]),
        ({"low": "", "high": ""}, [0, 1, 2, 3]),
        ({"low": "99"}, []),
    ],
)
def test_the_filter_shows_what_it_says(
    browser: Browser, tmp_path: Path, settings: dict[str, Any], shown: list[int]
) -> None:
    browser.open(write(tmp_path / "page.html", as_page(TEXTS, truth=TRUTH)))
    for name, value in settings.items():
        what = "checked" if isinstance(value, bool) else "value"
        browser.evaluate(
            f"(() => {{ const field = document.forms[0].elements[{json.dumps(name)}]; field.{what} = "
            f"{json.dumps(value)}; field.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
        )
    heights = browser.evaluate("[...document.querySelectorAll('article')].map(e => e.getBoundingClientRect().height)")
    assert [number for number, height in enumerate(heights) if height > 0] == shown
    status = browser.evaluate("document.querySelector('[role=status]').textContent")
    assert status == f"{len(shown)} of {len(TEXTS)} texts"
    assert not browser.complaints()


def test_without_scripts_there_is_no_filter(browser: Browser, tmp_path: Path) -> None:
    path = write(tmp_path / "page.html", as_page(TEXTS))
    height = "document.forms[0].getBoundingClientRect().height"
    browser.open(path)
    assert browser.evaluate(height) > 0
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(path)
    assert browser.evaluate(height) == 0
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_page_asks_for_nothing_but_itself(browser: Browser, tmp_path: Path) -> None:
    path = write(tmp_path / "page.html", as_page(TEXTS, truth=TRUTH))
    browser.open(path, width=400)
    assert browser.asked_for() == [path.as_uri()]
    assert not browser.complaints()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours(browser: Browser, tmp_path: Path, scheme: str) -> None:
    pytest.importorskip("PIL")
    page = as_page([explained("much little against", [1.0, 0.3, -1.0]), explained("vague", [1.0], stable=False)])
    browser.open(write(tmp_path / "page.html", page), scheme=scheme)
    pixels = browser.pixels()
    paper = pixels[2, 2]
    assert paper.max() < 60 if scheme == "dark" else paper.min() > 240

    def background(number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The colour that most of a word has, above its line."""
        x, y, right, bottom = browser.evaluate(
            f"(r => [r.left, r.top, r.right, r.bottom].map(Math.round))"
            f"(document.querySelectorAll('p.text span')[{number}].getBoundingClientRect())"
        )
        colours, counts = np.unique(
            pixels[y + 4 : bottom - 4, x + 2 : right - 2].reshape(-1, 3), axis=0, return_counts=True
        )
        return colours[counts.argmax()]

    much, little, against, vague = map(background, range(4))
    assert much[2] - much[0] > 60  # more blue than red
    assert against[0] - against[2] > 60
    far, near = (np.abs(colour - paper).sum() for colour in (much, little))
    assert 10 < near < far / 2
    np.testing.assert_array_equal(vague, paper)


# The worst contrast of the text of each element with what is painted behind it, after WCAG 2.
CONTRAST = r"""
(() => {
  const parts = colour => { const found = colour.match(/[\d.]+/g).map(Number); return [...found, 1].slice(0, 4); };
  const over = (top, below) => [0, 1, 2].map(k => top[3] * top[k] + (1 - top[3]) * below[k]);
  const light = colour => { const [r, g, b] = colour.map(c => c / 255).map(
    c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => {
    const own = parts(getComputedStyle(e).backgroundColor);
    return e.parentElement ? over(own, behind(e.parentElement)) : over(own, [255, 255, 255]);
  };
  return [...document.body.querySelectorAll('*')].filter(
    e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.localName !== 'script'
  ).map(e => {
    const paper = behind(e), ink = over(parts(getComputedStyle(e).color), paper);
    const [low, high] = [light(paper), light(ink)].sort((a, b) => a - b);
    return [e.localName + '.' + e.className + ': ' + e.textContent.slice(0, 20), (high + 0.05) / (low + 0.05)];
  });
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser: Browser, tmp_path: Path, scheme: str) -> None:
    browser.open(write(tmp_path / "page.html", as_page(TEXTS, truth=TRUTH)), scheme=scheme)
    found = browser.evaluate(CONTRAST)
    assert {"span.for", "span.against", "b.", "summary.", "td."} <= {name.partition(":")[0] for name, _ in found}
    assert [one for one in found if one[1] < 4.5] == []


def test_a_text_that_runs_from_right_to_left(browser: Browser, tmp_path: Path) -> None:
    text = "הכרטיס שלי נגנב\nstolen in town"
    browser.open(write(tmp_path / "page.html", as_page([explained(text, [0.5] * 6)])))
    assert browser.evaluate("getComputedStyle(document.querySelector('p.text')).direction") == "rtl"
    hebrew, second, _, stolen, _, _ = browser.evaluate(
        "[...document.querySelectorAll('p.text span')].map(e => e.getBoundingClientRect().toJSON())"
    )
    box = browser.evaluate("document.querySelector('p.text').getBoundingClientRect().toJSON()")
    assert hebrew["right"] == pytest.approx(box["right"], abs=2)
    assert second["right"] < hebrew["left"]
    assert stolen["top"] > hebrew["top"]
    assert stolen["left"] == pytest.approx(box["left"], abs=2)  # each line by itself


def test_a_telephone_does_not_scroll_sideways(browser: Browser, tmp_path: Path) -> None:
    long = f"https://example.org/{'a' * 300} {'longer ' * 30}".strip()
    found = [explained(long, [0.5] * 31, predicted="a label of many words that goes on") for _ in range(2)]
    browser.open(write(tmp_path / "page.html", as_page(found, truth=["x" * 30, "y"])), width=400)
    browser.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.evaluate("document.documentElement.clientWidth") == 400
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize(("scheme", "theme"), [("dark", "true"), ("light", "false")])
def test_a_notebook_is_followed_rather_than_the_system(
    browser: Browser, tmp_path: Path, scheme: str, theme: str
) -> None:
    page = f"<!doctype html><body data-jp-theme-light={theme}>{as_fragment(TEXTS[0])}"
    browser.open(write(tmp_path / "cell.html", page), scheme=scheme)
    colour = browser.evaluate("getComputedStyle(document.querySelector('.fastplr')).backgroundColor")
    assert colour == {"true": "rgb(255, 255, 255)", "false": "rgb(21, 25, 30)"}[theme]


def test_a_single_text_has_nothing_to_filter(browser: Browser, tmp_path: Path) -> None:
    browser.open(write(tmp_path / "page.html", TEXTS[0].to_html()))
    assert browser.evaluate("document.forms.length") == 0
    assert browser.evaluate("document.querySelector('p.text').textContent") == TEXTS[0].text
    assert not browser.complaints()
