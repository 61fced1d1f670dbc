"""One request to an OpenAI-compatible endpoint, named by the environment; one bounded answer.

The key is sent to that endpoint only, and is in no message, log or file. Redirects are not
followed, and requests are not repeated.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from model_foundry.errors import ConfigError, FoundryError
from model_foundry.foundation.interrupts import blocking_section, check_interrupt
from model_foundry.foundation.messages import printable, reason_of

URL, KEY, MODEL = "OPENAI_BASE_URL", "OPENAI_API_KEY", "FOUNDRY_AI_MODEL"
CONNECTING, ANSWERING = 10.0, 300.0  # timeouts in seconds; a model on a CPU takes minutes
LARGEST_ANSWER = 1_000_000  # bytes
SHORTEST_KEY = 8  # characters; keys of local servers are often common words, and no secrets
REMEDIES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: f"check {KEY}",
    HTTPStatus.FORBIDDEN: f"check {KEY}",
    HTTPStatus.NOT_FOUND: f"check {URL} and {MODEL}",
    HTTPStatus.TOO_MANY_REQUESTS: "start again later",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An endpoint, its model and its key."""

    url: str
    """Base URL, to which the client adds the path of the request."""
    model: str
    key: str = field(repr=False)

    def refused(self, fault: str, remedy: str) -> ConfigError:
        """Return the error for an unusable answer, without the key."""
        line = f"{self.url}: {fault}"
        if len(self.key) >= SHORTEST_KEY:
            line = line.replace(self.key, "[key]")  # before it is shortened, maybe within the key
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
    except ValueError:  # an invalid port or IPv6 address
        usable = False
    if not usable or "@" in url or not url.isprintable():
        rule = "must be a URL that begins with http:// or https:// and holds no password"
        raise ConfigError(f"{URL}: {rule}")
    return Endpoint(url=url, model=model, key=key)


def ask(endpoint: Endpoint, *, instructions: str, question: str) -> str:
    """Return the answer of the model at temperature 0.

    Raises:
        ConfigError: the client is not installed, or the endpoint sends no usable answer.
        Interrupted: a signal came while the answer was read.
    """
    if find_spec("openai") is None:
        remedy = "run pip install 'model-foundry[openai]'"
        raise ConfigError(f"ai_step needs the package openai; {remedy}")
    messages = [
        {"role": "system", "content": instructions},
        {"role": "user", "content": question},
    ]
    with blocking_section("the answer of the endpoint"):
        return _content(endpoint, _send(endpoint, messages))


def _send(endpoint: Endpoint, messages: list[Any]) -> bytes:
    """Send the request; return the body of the answer."""
    import openai

    deadline = time.monotonic() + ANSWERING
    timeout = openai.Timeout(ANSWERING, connect=CONNECTING)
    # a hook, because the client reads the whole body of an error before it raises
    hooks: dict[str, list[Any]] = {"response": [partial(_check_response, endpoint, deadline)]}
    try:
        with (
            openai.DefaultHttpxClient(
                follow_redirects=False, timeout=timeout, event_hooks=hooks
            ) as http,
            openai.OpenAI(
                base_url=endpoint.url, api_key=endpoint.key, max_retries=0, http_client=http
            ) as client,
            client.chat.completions.with_streaming_response.create(
                model=endpoint.model,
                temperature=0,
                messages=messages,
                timeout=timeout,
                extra_headers={"Accept-Encoding": "identity"},
            ) as response,
        ):
            return _read_bounded(endpoint, deadline, response.iter_bytes())
    except openai.OpenAIError as error:
        # from None: the client's errors hold the request, and the key in its headers
        raise _refusal_of(endpoint, error) from None


def _refusal_of(endpoint: Endpoint, error: Exception) -> FoundryError:
    import openai

    if isinstance(error.__cause__, FoundryError):  # of the hook; some versions wrap it
        return error.__cause__
    if isinstance(error, openai.APITimeoutError):
        return endpoint.refused(f"is silent for {ANSWERING:g} seconds", "name a faster one")
    return endpoint.refused(f"cannot be reached ({error.__cause__ or error})", f"check {URL}")


def _check_response(endpoint: Endpoint, deadline: float, response: Any) -> None:
    """Refuse an answer by its status and headers, before its body is read."""
    status = int(response.status_code)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # decompression allocates memory before the size is known
        raise endpoint.refused("sends a compressed answer", "name one that sends it as it is")
    if status == HTTPStatus.OK:
        return
    fault = f"answers with HTTP status {status}"
    if 300 <= status < 400:
        raise endpoint.refused(f"{fault}, a redirect", f"set {URL} to its target")
    if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # which may quote the key
        body = _read_bounded(endpoint, deadline, response.iter_bytes())
        fault += f" ({_error_message(body)})"
    raise endpoint.refused(fault, REMEDIES.get(status, "correct the cause"))


def _read_bounded(endpoint: Endpoint, deadline: float, pieces: Iterator[bytes]) -> bytes:
    """Read a body of bounded size in bounded time; a server may send byte by byte."""
    body = b""
    try:
        for piece in pieces:
            body += piece
            if len(body) > LARGEST_ANSWER or time.monotonic() > deadline:
                break
    except Exception as error:  # the HTTP library differs between versions of openai
        raise endpoint.refused(f"breaks off ({type(error).__name__})", "start again") from None
    check_interrupt()
    if len(body) > LARGEST_ANSWER:
        fault = f"answers with more than {LARGEST_ANSWER:,} bytes"
        raise endpoint.refused(fault, "ask for less in the prompt")
    if time.monotonic() > deadline:
        raise endpoint.refused(f"takes more than {ANSWERING:g} seconds", "name a faster one")
    return body


def _error_message(body: bytes) -> str:
    """Return the message of an error, in the form of the protocol or as plain text."""
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
        raise endpoint.refused("truncates its answer", f"name a {MODEL} with longer answers")
    return content
