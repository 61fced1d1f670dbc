"""One question to an OpenAI-compatible endpoint, which the environment names; one bounded answer.

The key is sent to that endpoint and stands in no message, log or file. Redirects are not followed.
Nothing is asked a second time.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from model_foundry.errors import ConfigError, FoundryError
from model_foundry.foundation.interrupts import blocking_section, check_interrupt
from model_foundry.foundation.messages import printable, reason_of

URL, KEY, MODEL = "OPENAI_BASE_URL", "OPENAI_API_KEY", "FOUNDRY_AI_MODEL"
CONNECTING, ANSWERING = 10.0, 300.0  # seconds; a model on a processor thinks for minutes
LARGEST_ANSWER = 1_000_000  # bytes
SHORTEST_KEY = 8  # characters; a local server is often given a word instead, which hides nothing
REMEDIES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: f"check {KEY}",
    HTTPStatus.FORBIDDEN: f"check {KEY}",
    HTTPStatus.NOT_FOUND: f"check {URL} and {MODEL}",
    HTTPStatus.TOO_MANY_REQUESTS: "start again later",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Whom to ask."""

    url: str
    """Base URL, to which the client adds the path of the question."""
    model: str
    """The model's name there."""
    key: str = field(repr=False)
    """Sent with the question, shown nowhere."""

    def refused(self, said: str, remedy: str) -> ConfigError:
        """Return the error for an answer that cannot be used."""
        line = f"{self.url}: {said}"
        if len(self.key) >= SHORTEST_KEY:
            line = line.replace(self.key, "[key]")  # first: what is cut would hold a part of it
        return ConfigError(f"{URL} {printable(reason_of(line))}; {remedy}")


def endpoint_of_environment() -> Endpoint:
    """Read URL, key and model of the endpoint from the environment."""
    missing = [name for name in (URL, KEY, MODEL) if not os.environ.get(name)]
    if missing:
        raise ConfigError(f"ai_step needs the environment variables {', '.join(missing)}; set them")
    url, key, model = (os.environ[name] for name in (URL, KEY, MODEL))
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(f"{KEY}: must be printable ASCII without blanks; set it again")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        usable = False
    if not usable or "@" in url or not url.isprintable():
        law = "must be a URL that begins with http:// or https:// and holds no password"
        raise ConfigError(f"{URL}: {law}")
    return Endpoint(url=url, model=model, key=key)


def ask(endpoint: Endpoint, *, instructions: str, question: str) -> str:
    """Return what the model answers, at temperature 0.

    Raises:
        ConfigError: the client is not installed, or no whole answer of bounded size came in time.
        Interrupted: a signal came while the answer was read.
    """
    if find_spec("openai") is None:
        remedy = "run pip install 'model-foundry[openai]'"
        raise ConfigError(f"ai_step needs the package openai; {remedy}")
    with blocking_section("the answer of the endpoint"):
        return _content(endpoint, _body(endpoint, instructions, question))


def _body(endpoint: Endpoint, instructions: str, question: str) -> bytes:
    import openai

    deadline = time.monotonic() + ANSWERING
    timeout = openai.Timeout(ANSWERING, connect=CONNECTING)
    refusals: list[FoundryError] = []

    def look(response: Any) -> None:
        # Here, because the client reads an error of any length before it raises.
        try:
            _require_answer(endpoint, response, deadline)
        except FoundryError as error:
            refusals.append(error)  # some versions of the client raise one of their own for it
            raise

    try:
        with (
            openai.DefaultHttpxClient(
                follow_redirects=False, timeout=timeout, event_hooks={"response": [look]}
            ) as http,
            openai.OpenAI(
                base_url=endpoint.url, api_key=endpoint.key, max_retries=0, http_client=http
            ) as client,
            client.chat.completions.with_streaming_response.create(
                model=endpoint.model,
                temperature=0,
                messages=[
                    {"role": "system", "content": instructions},
                    {"role": "user", "content": question},
                ],
                timeout=timeout,
                extra_headers={"Accept-Encoding": "identity"},
            ) as response,
        ):
            return _bounded(endpoint, response.iter_bytes(), deadline)
    except openai.OpenAIError as error:
        # from None: the client's errors hold the request, and the key in its headers
        raise (refusals or [_unreached(endpoint, error)])[0] from None


def _require_answer(endpoint: Endpoint, response: Any, deadline: float) -> None:
    """Refuse an answer by its status and its headers, before its body is read."""
    status = int(response.status_code)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # what it unpacks to is in memory before it can be counted
        raise endpoint.refused("sends a compressed answer", "name one that sends it as it is")
    if status == HTTPStatus.OK:
        return
    said = f"answers with HTTP status {status}"
    if 300 <= status < 400:
        raise endpoint.refused(f"{said}, a redirect", f"set {URL} to where the endpoint is")
    if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # which may quote the key
        said += f" ({_message(_bounded(endpoint, response.iter_bytes(), deadline))})"
    raise endpoint.refused(said, REMEDIES.get(status, "mend what it names"))


def _bounded(endpoint: Endpoint, pieces: Iterator[bytes], deadline: float) -> bytes:
    """Read a body of bounded size in bounded time."""
    body = b""
    try:
        for piece in pieces:
            body += piece
            if len(body) > LARGEST_ANSWER or time.monotonic() > deadline:
                break
    except Exception as error:  # of the HTTP library, which is another in other versions of openai
        raise endpoint.refused(f"breaks off ({type(error).__name__})", "start again") from None
    check_interrupt()
    if len(body) > LARGEST_ANSWER:
        law = f"answers with more than {LARGEST_ANSWER:,} bytes"
        raise endpoint.refused(law, "word the prompt more narrowly")
    if time.monotonic() > deadline:
        raise endpoint.refused(f"takes more than {ANSWERING:g} seconds", "name a faster one")
    return body


def _unreached(endpoint: Endpoint, error: Exception) -> ConfigError:
    import openai

    if isinstance(error, openai.APITimeoutError):
        said, remedy = f"is silent for {ANSWERING:g} seconds", "name a faster one"
    else:
        said, remedy = f"cannot be reached ({error.__cause__ or error})", f"check {URL}"
    return endpoint.refused(said, remedy)


def _message(body: bytes) -> str:
    """Return what an answer that is an error says, in the form of the protocol or in another."""
    text = body.decode(errors="replace")
    try:
        return f"{json.loads(text)['error']['message']}"
    except (ValueError, LookupError, TypeError, RecursionError):
        return text


def _content(endpoint: Endpoint, body: bytes) -> str:
    """Return the text of a chat completion."""
    try:
        (choice,) = json.loads(body)["choices"]
        content, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        content, reason = None, None
    if not isinstance(content, str):
        raise endpoint.refused("gives an answer that is no chat completion", f"check {URL}")
    if reason == "length":
        raise endpoint.refused("breaks its answer off", f"name a {MODEL} that answers at length")
    return content
