"""`ai_step`: one request, approval, execution, and faults of an endpoint."""

import hashlib
import multiprocessing
import pickle
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config.data import InterventionStep
from model_foundry.errors import ConfigError, FoundryError, SaveError
from model_foundry.interventions.ai_step import endpoint
from model_foundry.interventions.ai_step.approved_code import code_of_answer, file_text, read_code
from model_foundry.interventions.ai_step.step import (
    SIGNATURE,
    ai_step,
)
from model_foundry.interventions.chain import Chain
from model_foundry.interventions.preparation import prepare_steps
from tests.interventions.answering import Reply, Server, completion, raw, serving

KEY = "sk-secret-0123456789"
PROMPT = "Upper-case the text.\nLeave out every third document."
CODE = f"""\
import random

{SIGNATURE}
    if index % 3 == 2:
        return None
    return f"{{text.upper()}} {{random.Random(f'{{seed}}-{{index}}').randrange(10)}}"
"""
ANSWER = f"Here it is:\n```python\n{CODE}```\nTell me if you need more."


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An endpoint in the environment that answers with CODE."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        monkeypatch.setenv(endpoint.URL, server.url)
        monkeypatch.setenv(endpoint.KEY, KEY)
        monkeypatch.setenv(endpoint.MODEL, "small-model")
        server.reply = completion(ANSWER)
        yield server


check_steps = partial(prepare_steps, writes=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "steps" / "upper.py"


def step(file: Path, approved: str | None = None, prompt: str = PROMPT) -> InterventionStep:
    settings = {"prompt": prompt, "code": f"{file}", "approved": approved}
    return InterventionStep.model_validate({"step": "ai_step", **settings})


def write(file: Path, code: str = CODE, prompt: str = PROMPT) -> str:
    """Write a file as the step does, and return its SHA-256."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(file_text(prompt, "small-model", code), encoding="utf-8")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def refusal(function: Callable[..., Any], *steps: InterventionStep) -> str:
    """Return the message by which steps are refused: a line for each, without the key."""
    with pytest.raises(ConfigError) as raised:
        function(list(steps))
    message = str(raised.value)
    assert len(message.splitlines()) == len(steps)
    assert KEY not in "".join(traceback.format_exception(raised.value))
    return message


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_endpoint_is_asked_once_and_the_file_waits_for_approval(
    server: Server, file: Path
) -> None:
    first = refusal(prepare_steps, step(file))
    (asked,) = server.asked
    assert asked["path"] == "/v1/chat/completions"
    assert asked["headers"]["authorization"] == f"Bearer {KEY}"
    assert asked["headers"]["accept-encoding"] == "identity"
    assert (asked["body"]["model"], asked["body"]["temperature"]) == ("small-model", 0)
    instructions, question = asked["body"]["messages"]
    assert (instructions["role"], question["role"]) == ("system", "user")
    assert SIGNATURE in instructions["content"] and question["content"] == PROMPT
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert first.startswith(f"data.interventions.0.approved: {file} is not approved; ")
    assert f"`approved: {digest}`" in first
    assert refusal(prepare_steps, step(file)) == first == refusal(check_steps, step(file))
    assert "is not the file that was approved" in refusal(prepare_steps, step(file, "0" * 64))
    prepare_steps([step(file, digest)])
    assert len(server.asked) == 1


def test_the_file_holds_prompt_model_and_code_and_no_key(server: Server, file: Path) -> None:
    refusal(prepare_steps, step(file))
    text = file.read_text()
    assert text.endswith(f"\n{CODE}") and KEY not in text
    for line in ("# model: small-model", "#     Leave out every third document."):
        assert line in text.splitlines()
    assert list(file.parent.iterdir()) == [file]


def test_each_step_is_asked_for_and_has_its_line(server: Server, tmp_path: Path) -> None:
    one, two = step(tmp_path / "a.py"), step(tmp_path / "b.py", prompt="Another.")
    plain = InterventionStep(step="lowercase")
    with pytest.raises(ConfigError) as raised:
        prepare_steps([plain, one, two])
    first, second = str(raised.value).splitlines()
    assert first.startswith("data.interventions.1.approved: ")
    assert second.startswith("data.interventions.2.approved: ")
    assert len(server.asked) == 2


def test_checking_asks_nothing_and_writes_nothing(server: Server, file: Path) -> None:
    assert "does not exist yet" in refusal(check_steps, step(file))
    assert server.asked == [] and not file.parent.exists()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"code": "a.txt"}, "code"),
        ({"code": ""}, "code"),
        ({"code": "a\0.py"}, "code"),
        ({"approved": "yes"}, "approved"),
        ({"approved": "A" * 64}, "approved"),
        ({"prompt": ""}, "prompt"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_asked(
    settings: dict[str, Any], field: str, server: Server
) -> None:
    raw_step = {"step": "ai_step", "prompt": PROMPT, "code": "a.py", **settings}
    said = refusal(prepare_steps, InterventionStep.model_validate(raw_step))
    assert said.startswith(f"data.interventions.0.{field}: ")
    assert server.asked == []


def test_a_file_that_cannot_be_written_is_found_before_anything_is_asked(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "steps").write_text("")
    assert "cannot be written" in refusal(prepare_steps, step(tmp_path / "steps" / "a.py"))
    assert server.asked == []


def test_a_file_that_came_meanwhile_is_kept(server: Server, file: Path) -> None:
    def slowly(handler: BaseHTTPRequestHandler) -> None:
        write(file, f"{SIGNATURE}\n    return text\n")
        completion(ANSWER)(handler)

    server.reply = slowly
    refusal(prepare_steps, step(file))
    assert "upper" not in read_code(file).text.partition(SIGNATURE)[2]


# --- faults of an endpoint ------------------------------------------------------------------------


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(2)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def error(status: int, message: str) -> Reply:
    return raw(status, b'{"error": {"message": "%s"}}' % message.encode())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(400, f"no temperature for {KEY}"), "status 400 (no temperature for [key])"),
        (error(401, f"wrong key: {KEY[:9]}..."), "status 401; check OPENAI_API_KEY"),
        (error(404, "no such model"), "check OPENAI_BASE_URL and FOUNDRY_AI_MODEL"),
        (error(429, "too fast"), "status 429 (too fast); start again later"),
        (raw(503, b"<html>\n\x1b[31m"), r"status 503 (<html> \x1b[31m)"),
        (raw(599, b"x" * 2_000_000), "answers with more than 1,000,000 bytes"),
        (raw(200, b"x" * 2_000_000), "answers with more than 1,000,000 bytes"),
        (raw(200, b"[" * 100_000), "gives an answer that is no chat completion"),
        (raw(200, b"\x80"), "gives an answer that is no chat completion"),
        (raw(200, b'{"choices": []}'), "gives an answer that is no chat completion"),
        (raw(200, b'{"choices": [null]}'), "gives an answer that is no chat completion"),
        (raw(200, b'{"choices": [{"message": "a"}]}'), "is no chat completion"),
        (completion(None), "gives an answer that is no chat completion"),
        (completion(ANSWER, "length"), "truncates its answer"),
        (raw(200, b"{}", Content_Length="50"), "breaks off (RemoteProtocolError); start again"),
        (raw(200, b"{}", Content_Encoding="gzip"), "sends a compressed answer"),
        (silent, "is silent for 0.3 seconds"),
        (dripping, "takes more than 0.3 seconds"),
        (completion("def transform(): ..."), "the answer has 0 complete Python code blocks"),
        (completion(f"```python\n{CODE}"), "the answer has 0 complete Python code blocks"),
        (completion(f"{ANSWER}\n{ANSWER}"), "the answer has 2 complete Python code blocks"),
    ],
)
def test_a_useless_answer_is_one_line_and_no_file(
    reply: Reply, said: str, server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "ANSWERING", 0.3 if reply in (silent, dripping) else 60)
    server.reply = reply
    message = refusal(prepare_steps, step(file))
    assert said in message and message.isprintable()
    assert message.startswith(f"data.interventions.0.code: {file} does not exist and was not")
    assert len(server.asked) == 1
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, server: Server, file: Path) -> None:
    with serving() as elsewhere:
        server.reply = raw(status, b"", Location=f"{elsewhere.url}/chat/completions")
        assert f"status {status}, a redirect" in refusal(prepare_steps, step(file))
        assert elsewhere.asked == []
    assert len(server.asked) == 1


def test_an_unreachable_endpoint_is_one_line(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(endpoint.URL, "http://127.0.0.1:1/v1")
    assert "cannot be reached ([Errno" in refusal(prepare_steps, step(file))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (endpoint.URL, None, "needs the environment variables OPENAI_BASE_URL; set them"),
        (endpoint.KEY, None, "needs the environment variables OPENAI_API_KEY; set them"),
        (endpoint.MODEL, "", "needs the environment variables FOUNDRY_AI_MODEL; set them"),
        (endpoint.KEY, f"{KEY}\n", "OPENAI_API_KEY: must be printable ASCII without blanks"),
        (endpoint.KEY, f"{KEY}é", "OPENAI_API_KEY: must be printable ASCII without blanks"),
        (endpoint.URL, "localhost:8000", "OPENAI_BASE_URL: must be a URL that begins with http"),
        (endpoint.URL, "file:///etc/passwd", "OPENAI_BASE_URL: must be a URL"),
        (endpoint.URL, f"http://me:{KEY}@127.0.0.1/", "OPENAI_BASE_URL: must be a URL"),
        (endpoint.URL, "http://[::1/", "OPENAI_BASE_URL: must be a URL"),
        (endpoint.URL, "http://127.0.0.1:port/", "OPENAI_BASE_URL: must be a URL"),
    ],
)
def test_an_unfit_environment_is_one_line(
    name: str,
    value: str | None,
    said: str,
    server: Server,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert said in refusal(prepare_steps, step(file))
    assert server.asked == []


def test_a_missing_client_names_the_extra(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda name: None)
    said = refusal(prepare_steps, step(file))
    assert "pip install 'model-foundry[openai]'" in said
    assert server.asked == []


def test_a_key_is_not_shown_with_the_endpoint() -> None:
    whom = endpoint.Endpoint(url="http://a", model="b", key=KEY)
    assert KEY not in repr(whom)
    cut = whom.refused("x" * 480 + KEY, "stop")
    assert KEY[:5] not in str(cut)
    assert KEY not in str(
        endpoint.Endpoint(url=f"http://a/{KEY}", model="b", key=KEY).refused("", "")
    )
    short = endpoint.Endpoint(url="http://a", model="b", key="none")
    assert "none there" in str(short.refused("none there", "stop"))


# --- from an answer to a file ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{CODE}```",
        f"```\n{CODE}```",
        f"a\r\n```Python \r\n{CODE}```\r\nb".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"Use `x`.\n```py\n{CODE}```  \n",
    ],
)
def test_the_code_of_an_answer_is_its_one_block(answer: str) -> None:
    assert code_of_answer(answer) == CODE


HOSTILE_PROMPTS = [
    *(
        f"a{end}import touched"
        for end in ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028")
    ),
    "coding: utf-7\n+AGk-mport touched",
    '"""\nimport touched\n"""',
    "a\\\nimport touched",
    "a\x1b[2Jb \u202e c \t \0",
]


@pytest.mark.parametrize("prompt", HOSTILE_PROMPTS)
def test_no_prompt_comes_out_of_its_comment(prompt: str, tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    digest = write(file, prompt=prompt)
    assert read_code(file).prompt_sha256 == hashlib.sha256(prompt.encode()).hexdigest()
    prepare_steps([step(file, digest, prompt)])
    for model in ("small-model", prompt):
        before = file_text(prompt, model, CODE).partition("if not __name__")[0]
        assert all(line.startswith("#") for line in before.splitlines())


def test_a_written_file_does_nothing_when_python_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "planted.py", code="from pathlib import Path\nPath('ran').touch()\n" + CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="is run by ai_step alone"):
        __import__("planted")
    with pytest.raises(ImportError, match="is run by ai_step alone"):
        runpy.run_path("planted.py", run_name="__main__")
    assert not (tmp_path / "ran").exists()


# --- from a file to a function --------------------------------------------------------------------


def test_approved_code_is_given_text_seed_and_index(file: Path) -> None:
    steps = [step(file, write(file))]
    prepare_steps(steps)
    chain = Chain.of(steps, "train", 5)
    seed = chain.steps[0].seed
    applied = pickle.loads(pickle.dumps(chain)).apply([(4, "a b"), (5, "c"), (6, "d")])
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    assert applied.texts == [(n, scope["transform"](t, seed, n)) for n, t in ((4, "a b"), (6, "d"))]


def test_the_approved_bytes_are_part_of_the_cache_key(file: Path) -> None:
    one = Chain.of([step(file, "1" * 64)], "train", 5).cache_key()
    two = Chain.of([step(file, "2" * 64)], "train", 5).cache_key()
    assert one != two and "1" * 64 in f"{one}"


def apply(chain: Chain) -> Any:
    return chain.apply([(0, "a")]).texts


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_runs_what_was_approved_and_nothing_else(file: Path, start: str) -> None:
    steps = [step(file, write(file))]
    prepare_steps(steps)
    chain = Chain.of(steps, "train", 5)
    expected = apply(chain)
    write(file, CODE.replace("upper", "lower"))
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(apply, chain)
        if start == "fork":
            assert result.result() == expected
        else:
            with pytest.raises(ConfigError, match="is not the file that was approved"):
                result.result()
    assert "is not the file that was approved" in refusal(prepare_steps, *steps)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def transform(text, seed, index)\n", "is not Python (expected ':'"),
        ("return 1\n", "is not Python ('return' outside function"),
        ("from __future__ import annotations\n" + CODE, "is not Python (from __future__ imports"),
        ("(" * 300 + ")" * 300, "is not Python (too many nested parentheses"),
        ("x = 1\n", "must define `def transform(text: str, seed: int, index: int)"),
        ("transform = str.upper\n", "must define"),
        ("class A:\n    def transform(text, seed, index): ...\n", "must define"),
        ("async def transform(text, seed, index): ...\n", "must define"),
        ("def transform(text): ...\n", "must define"),
        ("def transform(text, index, seed): ...\n", "must define"),
        ("def transform(text, seed, *, index): ...\n", "must define"),
        ("def transform(text, seed, index, *more): ...\n", "must define"),
        ("import os.nothing\n" + CODE, "cannot be run (ModuleNotFoundError: "),
        ("raise SystemExit(0)\n" + CODE, "cannot be run (SystemExit: 0)"),
        (CODE + "del transform\n", "cannot be run (KeyError: 'transform')"),
        ("#" * 100_001, "is larger than 100,000 bytes"),
    ],
)
def test_code_without_the_function_is_refused(code: str, said: str, file: Path) -> None:
    digest = write(file, code)
    assert said in refusal(prepare_steps, step(file, digest))
    assert f"foundry_ai_step_{digest[:16]}" not in sys.modules


@pytest.mark.parametrize("unseen", ["\u202e", "\u2066", "\u200b", "\x00", "\x0c", "\r", "\u2028"])
def test_what_an_editor_may_not_show_is_refused(unseen: str, file: Path) -> None:
    write(file)
    content = file.read_bytes() + f"# a{unseen}b\n".encode()
    file.write_bytes(content)
    said = refusal(prepare_steps, step(file, hashlib.sha256(content).hexdigest()))
    line = content.count(b"\n")
    assert f"has U+{ord(unseen):04X} in line {line}" in said and said.isprintable()


def test_a_file_of_another_editor_is_read(file: Path) -> None:
    write(file)
    content = file.read_bytes().replace(b"\n", b"\r\n").replace(b"    ", b"\t")
    file.write_bytes(content)
    prepare_steps([step(file, hashlib.sha256(content).hexdigest())])


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    write(file)
    file.write_bytes(content := b"# coding: latin-1\n# \xe9\n" + file.read_bytes())
    said = refusal(prepare_steps, step(file, hashlib.sha256(content).hexdigest()))
    assert "is not UTF-8 at byte 20" in said


def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(CODE)
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    said = refusal(prepare_steps, step(file, digest))
    assert "was not written by ai_step; name another file" in said


def test_another_prompt_is_not_answered_by_an_old_file(server: Server, file: Path) -> None:
    digest = write(file)
    said = refusal(prepare_steps, step(file, digest, "Lower-case the text."))
    assert said.startswith(f"data.interventions.0.prompt: {file} was written for another prompt")
    assert server.asked == []


def test_dataclasses_work_in_approved_code(file: Path) -> None:
    code = (
        "from dataclasses import dataclass\n\n@dataclass\nclass A:\n    b: 'int'\n\n"
        f"{SIGNATURE}\n    return str(A(index))\n"
    )
    digest = write(file, code)
    settings = {"prompt": PROMPT, "code": file, "approved": digest}
    assert ai_step("a", seed=1, index=2, **settings) == "A(b=2)"


def test_a_disk_that_is_full_is_no_mistake_of_the_config(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise SaveError(f"{path}: cannot be written (No space left on device).")

    monkeypatch.setattr("model_foundry.interventions.ai_step.step.write_text", full)
    with pytest.raises(FoundryError) as raised:
        prepare_steps([step(file)])
    assert raised.value.exit_code == 8
