"""EndpointClassifier against a real HTTP server on this machine, never against the outside."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline

from chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, ChatServer, Said
from fastplr import EndpointError, InputError, Prompt
from fastplr.endpoint import EndpointClassifier, EndpointUsage

KEY = "sk-very-secret-0123456789/abc"
PROMPT = Prompt(
    "A film review: ", " Is it (a) positive, (b) negative?", cue=" Answer:", answers={"positive": "a", "negative": "b"}
)
TEXTS = ["a good film", "a bad film", "so good", "how bad", "good, all of it"]
LABELS = ["positive", "negative", "positive", "negative", "positive"]
SOON = {"retry-after-ms": "5"}

Answer = Callable[[dict[str, Any], int], Said]
Serve = Callable[[Answer], ChatServer]

_outside: list[str] = []


def _note_outside(event: str, arguments: tuple[Any, ...]) -> None:
    """Notes every address that this process connects to, or looks up, which is not this machine."""
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ("127.0.0.1", "::1"):
        _outside.append(f"connect {arguments[1]}")
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "::1", "localhost", b"localhost", None):
        _outside.append(f"look up {arguments[0]}")


sys.addaudithook(_note_outside)


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # where nothing listens
    _outside.clear()
    yield
    assert _outside == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[ChatServer] = []

    def start(answer: Answer) -> ChatServer:
        started.append(ChatServer(answer).__enter__())
        return started[-1]

    yield start
    for server in started:
        server.__exit__()


def mood(body: dict[str, Any], number: int = 0) -> Said:
    """The right answer, by what the text says."""
    return Said("a" if "good" in body["messages"][-1]["content"] else "b")


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"]).removeprefix(PROMPT.prefix).removesuffix(PROMPT.suffix + PROMPT.cue)


def client(server: ChatServer, **parameters: Any) -> EndpointClassifier:
    settings = {
        "prompt": PROMPT,
        "base_url": server.base_url,
        "api_key": KEY,
        "timeout": 10,
        "max_retries": 0,
        "progress": False,
        **parameters,
    }
    return EndpointClassifier("some-model", **settings)


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_it_predicts_what_the_model_answers(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server)
    predicted = asked.predict(TEXTS)
    assert predicted.tolist() == LABELS
    assert predicted.dtype == asked.classes_.dtype
    assert asked.classes_.tolist() == ["negative", "positive"]
    assert asked.score(TEXTS, LABELS) == 1.0
    assert asked.score(TEXTS, ["negative", *LABELS[1:]]) == 0.8
    assert asked.score(TEXTS, ["negative", *LABELS[1:]], sample_weight=[6, 1, 1, 1, 1]) == 0.4


def test_it_sends_the_prompt_and_nothing_but_it(serve: Serve) -> None:
    server = serve(mood)
    client(server).predict(["a good film"])
    assert server.paths == ["/v1/chat/completions"]
    assert server.bodies == [
        {
            "model": "some-model",
            "messages": [
                {"role": "system", "content": "Answer with exactly one of these and nothing else: a, b."},
                {"role": "user", "content": "A film review: a good film Is it (a) positive, (b) negative? Answer:"},
            ],
            "temperature": 0,
            "max_tokens": 16,
        }
    ]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_parameters_reach_the_model(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server, system="", temperature=None, max_tokens=None, extra_body={"max_completion_tokens": 500})
    asked.predict(["a good film"])
    [body] = server.bodies
    assert set(body) == {"model", "messages", "max_completion_tokens"}
    assert [message["role"] for message in body["messages"]] == ["user"]
    client(server, system="Be brief.", temperature=0.5).predict(["a good film"])
    assert server.bodies[1]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert server.bodies[1]["temperature"] == 0.5


def test_examples_stand_before_the_text_as_earlier_turns(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server, k=2)
    with pytest.raises(NotFittedError):
        asked.predict(["so good"])
    asked.fit(TEXTS, LABELS)
    assert {label for _, label in asked.examples_} == {"positive", "negative"}
    assert server.bodies == []
    assert asked.predict(["so good"]).tolist() == ["positive"]
    [body] = server.bodies
    assert [message["role"] for message in body["messages"]] == ["system", *["user", "assistant"] * 2, "user"]
    for (text, label), question, answer in zip(
        asked.examples_, body["messages"][1::2], body["messages"][2::2], strict=False
    ):
        assert question["content"] == PROMPT.render(text) + " Answer:"
        assert answer["content"] == PROMPT.answers[label]
    assert client(server, k=2).fit(TEXTS, LABELS).examples_ == asked.examples_


def test_each_distinct_text_is_asked_once(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server)
    assert asked.predict(["so good", "how bad", "so good"]).tolist() == ["positive", "negative", "positive"]
    assert len(server.bodies) == 2
    asked.predict(["so good", "new and good"])
    assert [text_of(body) for body in server.bodies[2:]] == ["new and good"]
    assert asked.replies_ == {"so good": "a", "how bad": "b", "new and good": "a"}


def test_what_is_asked_otherwise_is_asked_again(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server)
    asked.predict(["so good"])
    asked.set_params(system="Be brief.")
    assert asked.replies_ == {}
    asked.predict(["so good"])
    assert len(server.bodies) == 2
    asked.set_params(system=None)
    assert asked.replies_ == {"so good": "a"}
    asked.predict(["so good"])
    assert len(server.bodies) == 2


def test_a_full_set_of_replies_needs_neither_server_nor_key(serve: Serve) -> None:
    asked = client(serve(lambda body, number: Said(close=number > 0) if number else mood(body)))
    asked.predict(["so good"])
    again = pickle.loads(pickle.dumps(asked))
    assert again.api_key is None
    assert again.predict(["so good"]).tolist() == ["positive"]
    with pytest.raises(InputError, match="no API key: expected api_key, which no pickle keeps, or the environment"):
        again.predict(["so bad"])


@pytest.mark.parametrize("n_concurrent", [1, 3])
def test_no_more_requests_are_under_way_than_asked_for(serve: Serve, n_concurrent: int) -> None:
    def slowly(body: dict[str, Any], number: int) -> Said:
        return Said(mood(body).reply, hang=0.05)

    server = serve(slowly)
    texts = [f"good {number}" for number in range(12)]
    client(server, n_concurrent=n_concurrent).predict(texts)
    assert server.most_at_once == n_concurrent
    assert sorted(text_of(body) for body in server.bodies) == sorted(texts)


def test_labels_of_any_kind(serve: Serve) -> None:
    prompt = Prompt("", " Good?", answers={1: "yes", 0: "no", (2, 3): "maybe"})
    server = serve(lambda body, number: Said(["Yes.", "No, it is not.", "Maybe"][number]))
    asked = client(server, prompt=prompt, n_concurrent=1)
    assert asked.predict(["x", "y", "z"]).tolist() == [1, 0, (2, 3)]
    assert asked.set_params(on_unknown="none").predict(["x", "y", "z"]).tolist() == [1, 0, (2, 3)]


# -- replies ---------------------------------------------------------------------------------------------------------

WORDED = ["(a)", "A.", "Answer: a", "**a**", "a) positive", "The answer is (a) positive.", "Positive", '"positive".']


def test_replies_in_varied_words(serve: Serve) -> None:
    server = serve(lambda body, number: Said(WORDED[number]))
    assert client(server, n_concurrent=1).predict(list("abcdefgh")).tolist() == ["positive"] * 8


def unsure(body: dict[str, Any], number: int) -> Said:
    return Said("I cannot tell.", finish="length") if "?" in text_of(body) else mood(body)


def test_an_unknown_label_is_an_error_after_all_are_asked(serve: Serve) -> None:
    server = serve(unsure)
    asked = client(server, n_concurrent=1)
    with pytest.raises(EndpointError) as raised:
        asked.predict(["good", "really?", "bad", "well?"])
    assert str(raised.value) == (
        "2 of 4 replies name none or several of the answers 'a', 'b': the first, to texts[1], is 'I cannot tell.',"
        " cut at its end (max_tokens=16); all are in replies_, on_unknown='none' gives such texts the label None"
    )
    assert asked.replies_ == {"good": "a", "really?": "I cannot tell.", "bad": "b", "well?": "I cannot tell."}
    asked.set_params(on_unknown="none")
    assert asked.predict(["good", "really?", "bad", "well?"]).tolist() == ["positive", None, "negative", None]
    assert asked.score(["good", "really?", "bad", "well?"], ["positive"] * 4) == 0.25
    assert len(server.bodies) == 4


@pytest.mark.parametrize(
    "message",
    [{"content": None}, {"content": None, "refusal": "I will not."}, {}, {"content": ""}, {"content": "\ud800 a b"}],
)
def test_a_reply_without_a_word_is_an_unknown_label(serve: Serve, message: dict[str, Any]) -> None:
    body = json.dumps({"choices": [{"message": message}]}).encode()
    asked = client(serve(lambda *_: Said(body=body)))
    with pytest.raises(EndpointError, match="1 of 1 replies name none or several"):
        asked.predict(["good"])
    assert asked.set_params(on_unknown="none").predict(["good"]).tolist() == [None]


# -- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failures_that_pass_are_tried_again(serve: Serve, status: int) -> None:
    def fails_twice(body: dict[str, Any], number: int) -> Said:
        return Said(status=status, body=b"{}", headers=SOON) if number < 2 else mood(body)

    server = serve(fails_twice)
    asked = client(server, max_retries=3)
    assert asked.predict(["good"]).tolist() == ["positive"]
    assert len(server.bodies) == 3
    assert (asked.usage_.requests, asked.usage_.retries) == (3, 2)


def test_retry_after_is_obeyed(serve: Serve) -> None:
    times: list[float] = []

    def busy(body: dict[str, Any], number: int) -> Said:
        times.append(time.monotonic())
        return Said(status=429, body=b"{}", headers={"retry-after": "1.5"}) if number == 0 else mood(body)

    client(serve(busy), max_retries=1).predict(["good"])
    assert times[1] - times[0] >= 1.4


def test_a_lost_connection_is_tried_again(serve: Serve) -> None:
    server = serve(lambda body, number: Said(close=True) if number == 0 else mood(body))
    asked = client(server, max_retries=1)
    assert asked.predict(["good"]).tolist() == ["positive"]
    assert asked.usage_.retries == 1


def error_body(message: str, **more: str) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


NOT_JSON = "answered with status 200, but with no JSON: '"
NO_CHOICES = "answered with status 200, but with no choices: '"
TROUBLE = {
    "refused": (
        Said(status=401, body=error_body(f"Incorrect API key provided: {KEY}.")),
        "refuses the API key or what it may do (status 401): Incorrect API key provided: ***.",
    ),
    "forbidden": (Said(status=403, body=error_body("Not for you")), "may do (status 403): Not for you"),
    "unknown model": (
        Said(status=404, body=error_body("it does not exist", code="model_not_found")),
        "has no model 'some-model', or is no base_url of an OpenAI-compatible endpoint (status 404): it does not exist",
    ),
    "too many": (
        Said(status=429, body=error_body("quota is used up")),
        "takes no more requests for now (status 429): quota is used up",
    ),
    "broken": (
        Said(status=500, body=b"<html>" + KEY.encode() + b" oops" * 1000),
        "answered with status 500: <html>*** oops oops",
    ),
    "bad gateway": (Said(status=502, body=b""), "answered with status 502"),
    "too long": (
        Said(status=400, body=error_body("context length exceeded")),
        "refused 1 of 1 texts, the first of them with status 400: context length exceeded",
    ),
    "closed": (Said(close=True), "cannot be reached"),
    "no json": (Said(body=b"<html>hello " + KEY.encode()), NOT_JSON + "<html>hello ***'"),
    "half json": (Said(body=b'{"choices": [{"mess'), NOT_JSON),
    "empty": (Said(body=b""), NOT_JSON + "'"),
    "not utf-8": (Said(body=b'{"choices": "\xff\xfe"}'), NOT_JSON),
    "deep": (Said(body=b"[" * 200_000), NOT_JSON),
    "not gzip": (Said(body=b"plain", headers={"content-encoding": "gzip"}), "cannot be reached (error: "),
    "no choices": (Said(body=b'{"choices": []}'), NO_CHOICES + '{"choices": []}'),
    "choices of another kind": (Said(body=b'{"choices": {"a": 1}}'), NO_CHOICES),
    "null choice": (Said(body=b'{"choices": [null]}'), NO_CHOICES),
    "no message": (Said(body=b'{"choices": [{"text": "a"}]}'), NO_CHOICES),
    "a list": (Said(body=b"[1]"), NO_CHOICES),
    "an error with status 200": (Said(body=error_body("out of credit")), NO_CHOICES + "out of credit'"),
    "content of another kind": (
        Said(body=b'{"choices": [{"message": {"content": [1]}}]}'),
        "answered with a content that is no text",
    ),
    "moved": (
        Said(status=307, body=b"", headers={"location": "http://127.0.0.1:9/v1"}),
        "redirects to http://127.0.0.1:9/v1 (status 307): expected the address itself as base_url",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_says_where_what_and_never_the_key(
    serve: Serve, trouble: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    said, message = TROUBLE[trouble]
    server = serve(lambda *_: said)
    caplog.set_level(logging.DEBUG)
    asked = client(server)
    with pytest.raises(EndpointError, match=re.escape(message)) as raised:
        asked.predict(["good"])
    assert server.base_url in str(raised.value)
    assert len(str(raised.value)) < 700
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text + repr(asked) + "".join(capfd.readouterr())
    assert KEY not in shown
    assert len(server.bodies) == asked.usage_.requests == 1
    assert asked.replies_ == {}


def test_an_endpoint_that_hangs(serve: Serve) -> None:
    server = serve(lambda *_: Said(hang=30))
    begun = time.monotonic()
    with pytest.raises(EndpointError, match=r"gave no reply within timeout=0\.2 seconds, after 1 further try"):
        client(server, timeout=0.2, max_retries=1).predict(["good"])
    assert time.monotonic() - begun < 10


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    asked = EndpointClassifier("m", prompt=PROMPT, base_url=url, api_key=KEY, max_retries=0)
    with pytest.raises(EndpointError, match=rf"{url} cannot be reached \(\w+: .*\)$"):
        asked.predict(["good"])


def test_replies_from_before_an_error_are_kept(serve: Serve) -> None:
    def breaks(body: dict[str, Any], number: int) -> Said:
        return Said(status=500, body=b"{}") if number == 3 else mood(body)

    server = serve(breaks)
    asked = client(server, n_concurrent=1)
    with pytest.raises(
        EndpointError, match=r"status 500: \{\}; 3 of 5 texts are answered and kept: predict again asks"
    ):
        asked.predict(TEXTS)
    assert len(server.bodies) == 4  # nothing was sent after it
    assert list(asked.replies_) == TEXTS[:3]
    assert asked.predict(TEXTS).tolist() == LABELS
    assert len(server.bodies) == 6


def test_replies_under_way_at_an_error_are_kept(serve: Serve) -> None:
    both = threading.Barrier(2, timeout=10)

    def breaks(body: dict[str, Any], number: int) -> Said:
        both.wait()
        if "bad" in text_of(body):
            return Said(status=401, body=b"{}")
        return Said("a", hang=0.3)

    asked = client(serve(breaks), n_concurrent=2)
    with pytest.raises(EndpointError, match="status 401"):
        asked.predict(["good", "bad", "never asked"])
    assert asked.replies_ == {"good": "a"}


def test_a_refused_text_does_not_keep_others_from_being_asked(serve: Serve) -> None:
    def filtered(body: dict[str, Any], number: int) -> Said:
        refused = "?" in text_of(body)
        return Said(status=400, body=error_body("content policy")) if refused else mood(body)

    server = serve(filtered)
    asked = client(server, n_concurrent=1)
    with pytest.raises(EndpointError, match=r"refused 2 of 7 texts.*status 400: content policy; 5 of 7 texts are ans"):
        asked.predict(["what?", *TEXTS, "why?"])
    assert asked.predict(TEXTS).tolist() == LABELS
    assert len(server.bodies) == 7


def test_an_endpoint_that_refuses_every_text_gets_three(serve: Serve) -> None:
    server = serve(lambda *_: Said(status=400, body=error_body("Unsupported parameter: max_tokens")))
    with pytest.raises(EndpointError, match="refused the first 3 texts, with status 400: Unsupported parameter"):
        client(server, n_concurrent=1).predict(TEXTS)
    assert len(server.bodies) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to one thread")
def test_ctrl_c_ends_it_at_once_and_keeps_replies(serve: Serve) -> None:
    main = threading.main_thread().ident

    def interrupts(body: dict[str, Any], number: int) -> Said:
        if number == 2:
            signal.pthread_kill(main, signal.SIGINT)
            return Said(hang=30)
        return mood(body)

    server = serve(interrupts)
    asked = client(server, n_concurrent=1, timeout=60)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asked.predict(TEXTS)
    assert time.monotonic() - begun < 10
    assert list(asked.replies_) == TEXTS[:2]
    assert asked.usage_.requests == 3
    server.answer = mood
    assert asked.predict(TEXTS).tolist() == LABELS
    assert len(server.bodies) == 6
    assert not [thread for thread in threading.enumerate() if thread.name == "fastplr-endpoint"]


# -- cost ------------------------------------------------------------------------------------------------------------


def test_the_cost_is_counted(serve: Serve) -> None:
    asked = client(serve(mood), price_per_million=(2.5, 10))
    assert asked.usage_ == EndpointUsage(0, 0, 0, 0, 0, 0.0)
    asked.predict(TEXTS)
    asked.predict(TEXTS)
    n_read, n_written = 5 * PROMPT_TOKENS, 5 * COMPLETION_TOKENS
    cost = (2.5 * n_read + 10 * n_written) / 1e6
    assert asked.usage_ == EndpointUsage(5, 0, n_read, n_written, 0, pytest.approx(cost))
    assert asked.set_params(price_per_million=None).usage_.cost is None
    assert clone(asked).usage_.requests == 0


def test_a_cost_that_is_not_known_is_none(serve: Serve) -> None:
    asked = client(serve(lambda body, number: Said("a", usage=number > 0)), price_per_million=(1, 1), n_concurrent=1)
    asked.predict(TEXTS)
    assert asked.usage_ == EndpointUsage(5, 0, 4 * PROMPT_TOKENS, 4 * COMPLETION_TOKENS, 1, None)


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": "1"}, [], 3])
def test_counts_that_are_none_are_not_counted(serve: Serve, usage: object) -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}}], "usage": usage}).encode()
    asked = client(serve(lambda *_: Said(body=body)))
    asked.predict(["good"])
    assert asked.usage_ == EndpointUsage(1, 0, 0, 0, 1, None)


# -- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_is_shown_nowhere(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked = client(serve(mood))
    asked.predict(["good"])
    pipeline = Pipeline([("asked", asked)])
    shown = [repr(asked), repr(pipeline), str(asked.get_params()), str(vars(asked)), repr(pipeline.get_params())]
    shown += [asked._repr_html_(), pipeline._repr_html_(), caplog.text]
    assert not [text for text in shown if KEY in text]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert KEY.encode() not in pickle.dumps(asked, protocol)
    assert KEY.encode() not in pickle.dumps(asked.get_params())


def test_copies_in_memory_have_the_key(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server)
    for again in (clone(asked), copy.copy(asked), copy.deepcopy(asked), clone(asked).set_params(api_key=KEY)):
        again.predict(["good"])
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert cross_val_score(client(server), TEXTS * 2, LABELS * 2, cv=2).tolist() == [1.0, 1.0]


def test_the_key_and_the_address_can_come_from_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(mood)
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    assert EndpointClassifier("m", prompt=PROMPT).predict(["good"]).tolist() == ["positive"]
    assert server.headers[0]["authorization"] == "Bearer key-of-the-environment"


@pytest.mark.parametrize("key", [KEY + "\n", KEY + " x", KEY + "é", "\0" + KEY])
def test_a_key_that_cannot_be_sent_is_not_shown(serve: Serve, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(mood)
    monkeypatch.setenv("OPENAI_API_KEY", key if "\0" not in key else KEY + "\t")
    for given in (key, None):
        with pytest.raises(InputError, match=r"the API key has a character at .* expected visible ASCII") as raised:
            client(server, api_key=given).predict(["good"])
        assert KEY not in str(raised.value)
    assert server.bodies == []


# -- the way there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxies_of_the_environment_do_not_hold_for_this_machine(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = serve(mood)
    asked = client(server, base_url=server.base_url.replace("127.0.0.1", host))
    assert asked.predict(["good"]).tolist() == ["positive"]


def test_proxies_of_the_environment_hold_for_other_machines(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(mood)
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1"))
    asked = client(proxy, base_url="http://endpoint.invalid/v1")
    assert asked.predict(["good"]).tolist() == ["positive"]
    assert proxy.paths == ["http://endpoint.invalid/v1/chat/completions"]


def test_proxies_that_cannot_be_used_are_not_shown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://me:secret-word@proxy")
    with pytest.raises(InputError, match="the environment's proxies or certificates cannot be used") as raised:
        client(serve(mood), base_url="http://endpoint.invalid/v1").predict(["good"])
    assert "secret-word" not in "".join(traceback.format_exception(raised.value))


def test_texts_do_not_follow_a_redirect(serve: Serve) -> None:
    other = serve(mood)
    location = f"{other.base_url}/chat/completions"
    server = serve(lambda *_: Said(status=307, body=b"", headers={"location": location}))
    with pytest.raises(EndpointError, match=f"redirects to {location}"):
        client(server).predict(["good"])
    assert other.bodies == []


def test_it_runs_where_an_event_loop_runs_already(serve: Serve) -> None:
    asked = client(serve(mood))

    async def as_in_a_notebook() -> list[str]:
        return list(asked.predict(TEXTS))

    assert asyncio.run(as_in_a_notebook()) == LABELS


def test_a_bar_counts_texts(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    client(serve(mood), progress=True).predict(TEXTS)
    assert "asking some-model" in capsys.readouterr().err


# -- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"base_url": "ftp://example.org"}, "base_url is 'ftp://example.org': expected an http"),
        ({"base_url": "example.org/v1"}, "base_url is 'example.org/v1': expected an http"),
        ({"base_url": "http://"}, "base_url is 'http://'"),
        ({"base_url": "http://[::1/v1"}, "base_url is 'http://"),
        ({"base_url": "http://127.0.0.1:port/v1"}, "base_url is 'http://127.0.0.1:port/v1'"),
        ({"base_url": "http://127.0.0.1/v1\n"}, "base_url is "),
        ({"base_url": "http://a b/v1"}, "base_url is "),
        ({"base_url": ""}, "base_url is ''"),
        ({"base_url": 7}, "base_url is 7 of type int"),
        ({"base_url": "http://127.0.0.1/v1?key=secret-word"}, "with a query or a fragment"),
        ({"base_url": "http://me:secret-word@127.0.0.1/v1"}, "expected no user or password in it"),
        ({"prompt": None}, "prompt is None: expected a fastplr.Prompt"),
        ({"prompt": Prompt("Good?")}, "prompt has answers=None"),
        ({"prompt": Prompt("Good?", answers={"x": "a"})}, "two or more labels"),
        ({"prompt": Prompt("Good?", answers={"x": "a", "y": " a"})}, "answer 'a' for both 'x' and 'y'"),
        ({"model": ""}, "model is '': expected the name"),
        ({"model": None}, "model is None: expected the name"),
        ({"api_key": ""}, "no API key"),
        ({"system": 3}, "system is 3 of type int"),
        ({"system": "\ud800"}, "system is '.ud800' of type str: expected valid Unicode"),
        ({"model": "\ud800"}, "model is '.ud800': expected the name"),
        ({"extra_body": {"x": "\ud800"}}, "cannot be written as JSON"),
        ({"base_url": "http://256.256.1.1/v1"}, "base_url is 'http://256.256.1.1/v1', which is no URL"),
        ({"k": -1}, "k is -1"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": "a"}, "random_state is 'a'"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"timeout": 0}, "timeout is 0: expected a number of seconds > 0"),
        ({"timeout": None}, "timeout is None"),
        ({"max_retries": -1}, "max_retries is -1"),
        ({"n_concurrent": 0}, "n_concurrent is 0"),
        ({"n_concurrent": True}, "n_concurrent is True"),
        ({"price_per_million": 3}, "price_per_million is 3: expected two prices"),
        ({"price_per_million": (1, -2)}, r"price_per_million is \(1, -2\)"),
        ({"on_unknown": "ignore"}, "on_unknown is 'ignore': expected 'error' or 'none'"),
        ({"extra_body": [1]}, r"extra_body is \[1\]: expected a mapping"),
        ({"extra_body": {"messages": []}}, "extra_body has the field 'messages'"),
        ({"extra_body": {"x": {1, 2}}}, "cannot be written as JSON"),
    ],
)
def test_what_cannot_be_used_is_named(serve: Serve, parameters: dict[str, Any], message: str) -> None:
    server = serve(mood)
    with pytest.raises(InputError, match=message) as raised:
        client(server).set_params(**parameters).fit(TEXTS, LABELS).predict(["good"])
    assert "secret-word" not in str(raised.value)
    assert server.bodies == []


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="api_key is of type int"):
        EndpointClassifier("m", api_key=5)


def test_texts_and_labels_that_cannot_be_used(serve: Serve) -> None:
    server = serve(mood)
    asked = client(server, k=2)
    with pytest.raises(InputError, match="label is 'mixed': expected one of"):
        asked.fit(["x", "y"], ["positive", "mixed"])
    with pytest.raises(InputError, match="k is 2, but there are 1 rows"):
        asked.fit(["x"], ["positive"])
    with pytest.raises(InputError, match="k is 2, but there are no labelled texts"):
        asked.fit()
    with pytest.raises(InputError, match="texts is empty"):
        client(server).predict([])
    with pytest.raises(InputError, match=r"texts\[1\]"):
        client(server).predict(["good", ""])
    assert server.bodies == []


def test_openai_is_imported_when_it_is_needed_and_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, fastplr.endpoint as e; e.EndpointClassifier('m'); print('openai' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout == "False\n"
    monkeypatch.setitem(sys.modules, "openai", None)
    asked = EndpointClassifier("m", prompt=PROMPT, api_key=KEY)
    with pytest.raises(EndpointError, match=r"needs the package openai: pip install 'fastplr\[endpoint\]'"):
        asked.predict(["good"])


def test_classes_have_the_order_of_other_classifiers() -> None:
    prompt = Prompt("?", answers={2: "two", 0: "zero", 1: "one"})
    assert np.array_equal(EndpointClassifier("m", prompt=prompt).classes_, [0, 1, 2])


def test_what_has_no_answers_has_no_classes() -> None:
    assert not hasattr(EndpointClassifier("m"), "classes_")
