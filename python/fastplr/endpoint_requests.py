"""Questions to a language model behind an OpenAI-compatible endpoint, through the optional package ``openai``."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastplr.errors import EndpointError, InputError

__all__ = ["ApiKey", "Messages", "Reply", "Tally", "Target", "ask_all", "checked_url"]

Messages = list[dict[str, str]]

#: Texts that the endpoint refuses one by one, before it has answered any, after which no more are sent.
REFUSALS = 3
#: Shorter keys are words such as "none", for endpoints that ask for none: what a server says may have them.
SHORTEST_SECRET = 6
SAID_LENGTH = 300


class ApiKey:
    """A key that no repr and no pickle shows: copies are the same object, what a pickle of it gives back is None."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key."""
        return self._value

    def checked(self) -> ApiKey:
        """Itself. Raises InputError, which does not show it, where it cannot stand in a header."""
        for position, character in enumerate(self._value):
            if not "!" <= character <= "~":
                kind = "white space" if character.isspace() else "a control character or not ASCII"
                raise InputError(
                    f"the API key has a character at {position} of {len(self._value)} that is {kind}: expected visible"
                    " ASCII characters alone (a line end at its end?)"
                )
        return self

    def hidden_in(self, text: str) -> str:
        """`text` without the key."""
        if len(self._value) < SHORTEST_SECRET:
            return text
        for form in (self._value, json.dumps(self._value)[1:-1]):
            text = text.replace(form, "***")
        return text

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, ApiKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> ApiKey:
        return self

    def __deepcopy__(self, memo: object) -> ApiKey:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (_no_key, ())


def _no_key() -> None:
    return None


@dataclass(frozen=True)
class Target:
    """Where questions go, and how.

    Attributes:
        base_url: As :func:`checked_url` gives it.
        model: Name of the model at the endpoint.
        options: Further fields of each request.
        timeout: Seconds without a sign of the endpoint after which a request is given up.
        max_retries: Number of further tries of each request.
        n_concurrent: Requests under way at once.
    """

    base_url: str
    model: str
    options: Mapping[str, Any]
    timeout: float
    max_retries: int
    n_concurrent: int


@dataclass(frozen=True)
class Reply:
    """What the model said; `is_cut` where it ran into ``max_tokens``."""

    text: str
    is_cut: bool


@dataclass
class Tally:
    """What has been sent and what it took: HTTP requests, those of them that were further tries, tokens, and replies
    that came without a count of their tokens.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0


def checked_url(base_url: object) -> str:
    """`base_url` without a slash at its end.

    Raises:
        InputError: No http(s) URL with a host, or one with a user, a query or a fragment.
    """
    if not isinstance(base_url, str):
        raise InputError(f"base_url is {base_url!r:.80} of type {type(base_url).__name__}: expected an http(s) URL")
    if "@" in base_url:
        raise InputError("base_url has an '@': expected no user or password in it (a key goes into api_key)")
    expected = "expected an http(s) URL such as 'https://api.openai.com/v1'"
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # raises where it is no port
    except ValueError as error:
        raise InputError(f"base_url is {base_url!r:.200} ({error}): {expected}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not base_url.isprintable() or " " in base_url:
        raise InputError(f"base_url is {base_url!r:.200}: {expected}")
    if parts.query or parts.fragment:
        raise InputError(
            f"base_url is {base_url.split('?')[0].split('#')[0]!r:.200} with a query or a fragment: {expected}"
        )
    return base_url.rstrip("/")


def _is_loopback(base_url: str) -> bool:
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise EndpointError("an endpoint needs the package openai: pip install 'fastplr[endpoint]'") from error
    return openai


def ask_all(
    target: Target, key: ApiKey, questions: Sequence[tuple[str, Messages]], kept: MutableMapping[str, Reply],
    tally: Tally, on_progress: Callable[[int], object],
) -> None:  # fmt: skip
    """Ask `questions`, pairs of a name and its messages; each reply goes into `kept` under the name as it comes.

    An error of the endpoint ends it: no further question is sent, replies to those under way are kept. Where it refuses
    single questions the others are asked, unless the first ones are all refused. Ctrl-C gives up those under way.

    Args:
        target, key: Where to, with which key.
        questions: Pairs of a name and the messages of a chat.
        kept, tally: Are added to.
        on_progress: Called in this thread with the number of questions that are done, some times a second.

    Raises:
        EndpointError: The endpoint cannot be reached, refuses, or answers with what is no chat completion; ``openai``
            is not installed.
    """
    run = _Run(_openai(), target, key, questions, kept, tally)
    # A thread of its own: requests under way can be cancelled at once, and a caller may have an event loop (notebooks).
    worker = threading.Thread(target=run.work, name="fastplr-endpoint", daemon=True)
    worker.start()
    try:
        while not run.ended.wait(0.1):
            on_progress(run.n_done)
    except BaseException:
        run.cancel()
        raise
    finally:
        worker.join()
        on_progress(run.n_done)
    if run.crash is not None:
        raise run.crash
    if run.failure is not None:
        raise EndpointError(run.failure)


class _Run:
    """One call of :func:`ask_all`."""

    def __init__(
        self, openai: Any, target: Target, key: ApiKey, questions: Sequence[tuple[str, Messages]],
        kept: MutableMapping[str, Reply], tally: Tally,
    ) -> None:  # fmt: skip
        self.openai = openai
        self.target = target
        self.key = key
        self.questions = questions
        self.kept = kept
        self.tally = tally
        self.ended = threading.Event()
        self.n_done = 0
        self.failure: str | None = None
        self.crash: BaseException | None = None
        self._refused: list[str] = []
        self._n_answered = 0
        self._lock = threading.Lock()
        self._cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def work(self) -> None:
        """All of it, in the thread that this is called in."""
        try:
            asyncio.run(self._all())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.crash = error
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """Give up what is under way; from another thread."""
        with self._lock:
            self._cancelled = True
            if self._loop is not None and self._task is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _all(self) -> None:
        with self._lock:
            if self._cancelled:
                return
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            await self._ask_questions()
        finally:
            with self._lock:
                self._task = None

    def _client(self) -> Any:
        target = self.target
        # Texts go to the address that was given and to no other: redirects are not followed, and what the environment
        # says of proxies does not hold for this machine itself.
        try:
            http_client = self.openai.DefaultAsyncHttpxClient(
                follow_redirects=False,
                trust_env=not _is_loopback(target.base_url),
                event_hooks={"request": [self._count]},
            )
        except Exception as error:  # not shown: a proxy's URL may have a password
            raise InputError(
                f"the environment's proxies or certificates cannot be used ({type(error).__name__}): expected URLs in"
                " HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, a file in SSL_CERT_FILE"
            ) from None
        try:
            return self.openai.AsyncOpenAI(
                api_key=self.key.reveal(), base_url=target.base_url, timeout=target.timeout,
                max_retries=target.max_retries, http_client=http_client,
            )  # fmt: skip
        except Exception as error:
            raise InputError(
                f"base_url is {target.base_url!r:.200}, which is no URL ({self._shown(str(error))})"
            ) from None

    async def _ask_questions(self) -> None:
        target = self.target
        async with self._client() as client:
            questions = iter(self.questions)

            async def ask_some() -> None:
                for name, messages in questions:
                    await self._ask(client, name, messages)
                    self.n_done += 1
                    if self.failure is not None:
                        return

            await asyncio.gather(*(ask_some() for _ in range(min(target.n_concurrent, len(self.questions)))))
        if self.failure is None and self._refused:
            self.failure = (
                f"{target.base_url} refused {len(self._refused)} of {len(self.questions)} texts, the first of them with"
                f" {self._refused[0]}"
            )

    async def _count(self, request: Any) -> None:
        self.tally.requests += 1
        self.tally.retries += request.headers.get("x-stainless-retry-count", "0") != "0"

    async def _ask(self, client: Any, name: str, messages: Messages) -> None:
        openai, target = self.openai, self.target
        try:
            found = await client.chat.completions.with_raw_response.create(
                model=target.model, messages=messages, **target.options
            )
        except openai.APIStatusError as error:
            self._note_status(error)
        except openai.APITimeoutError:
            self._fail(f"{target.base_url} gave no reply within timeout={target.timeout:g} seconds{self._tries()}")
        except openai.APIConnectionError as error:
            self._fail(f"{target.base_url} cannot be reached ({self._cause(error)}){self._tries()}")
        except openai.OpenAIError as error:
            self._fail(f"{target.base_url}: {self._shown(str(error))}")
        else:
            self._read(name, found.status_code, found.content)

    def _read(self, name: str, status: int, content: bytes) -> None:
        url = self.target.base_url
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            said = content.decode("utf-8", "replace")
            return self._fail(f"{url} answered with status {status}, but with no JSON: {self._shown(said)!r}")
        self._add_usage(body.get("usage") if isinstance(body, dict) else None)
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            return self._fail(
                f"{url} answered with status {status}, but with no choices: {self._shown(_said_in(body))!r}"
            )
        text = message.get("content")
        text = message.get("refusal") if text is None else text
        if text is not None and not isinstance(text, str):
            return self._fail(f"{url} answered with a content that is no text: {self._shown(_said_in(body))!r}")
        self.kept[name] = Reply(text or "", choice.get("finish_reason") == "length")
        self._n_answered += 1
        return None

    def _add_usage(self, usage: object) -> None:
        counts = [usage.get(key) if isinstance(usage, dict) else None for key in ("prompt_tokens", "completion_tokens")]
        if all(type(count) is int and count >= 0 for count in counts):
            self.tally.prompt_tokens += counts[0] or 0
            self.tally.completion_tokens += counts[1] or 0
        else:
            self.tally.uncounted += 1

    # -- errors ------------------------------------------------------------------------------------------------------

    def _note_status(self, error: Any) -> None:
        url, model, status = self.target.base_url, self.target.model, error.status_code
        said = self._shown(_said_in(error.body if error.body is not None else error.response.text))
        if status in (400, 413, 422):  # of this text, or of the request whatever the text
            self._refused.append(f"status {status}: {said}")
            if len(self._refused) < REFUSALS or self._n_answered:
                return
            self._fail(f"{url} refused the first {len(self._refused)} texts, with {self._refused[0]}")
        elif status in (401, 403):
            self._fail(f"{url} refuses the API key or what it may do (status {status}): {said}")
        elif status == 404:
            self._fail(
                f"{url} has no model {model!r}, or is no base_url of an OpenAI-compatible endpoint (status 404): {said}"
            )
        elif status == 429:
            self._fail(f"{url} takes no more requests for now (status 429){self._tries()}: {said}")
        elif 300 <= status < 400:
            to = self._shown(str(error.response.headers.get("location", "nowhere")))
            self._fail(f"{url} redirects to {to} (status {status}): expected the address itself as base_url")
        else:
            self._fail(f"{url} answered with status {status}{self._tries()}: {said}")

    def _fail(self, message: str) -> None:
        self.failure = self.failure or message

    def _tries(self) -> str:
        n = self.target.max_retries
        return f", after {n} further {'try' if n == 1 else 'tries'}" if n else ""

    def _cause(self, error: BaseException) -> str:
        while error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
            error = error.__cause__ or error.__context__ or error
        return self._shown(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    def _shown(self, said: str) -> str:
        """What a server said, in one short line without the key."""
        # The key goes first: a part of it would not be found after the cut.
        line = " ".join(self.key.hidden_in(said).split())
        return line if len(line) <= SAID_LENGTH else line[:SAID_LENGTH] + "..."


def _said_in(body: object) -> str:
    """The message of an error's body, or all of it."""
    found = body
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and isinstance(found.get(key), dict | str):
            found = found[key]
    return found if isinstance(found, str) else json.dumps(body, ensure_ascii=False)
