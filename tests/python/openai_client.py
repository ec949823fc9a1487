#!/usr/bin/env python3
"""Chats with a running server through OpenAI's own Python client and exits non-zero at the first mismatch.

    cupola-serve --model NAME=DIR --listen 127.0.0.1:8080 &
    python tests/python/openai_client.py --base-url http://127.0.0.1:8080/v1 --model NAME [--api-key KEY]
"""

import argparse
import sys
import time

import openai

CHAT = [{"role": "user", "content": "Document this function:\nfn add(a: u32, b: u32) -> u32 { a + b }"}]


def expect(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def expect_error(kind, status, param, call):
    try:
        call()
    except kind as error:
        expect(error.status_code == status, f"status {error.status_code}, expected {status}: {error}")
        expect(error.param == param, f"param {error.param!r}, expected {param!r}: {error}")
        return
    sys.exit(f"FAILED: no {kind.__name__} about {param}")


def check_chat(client, model):
    started = time.monotonic()
    answer = client.chat.completions.create(model=model, messages=CHAT, max_tokens=40, seed=7, temperature=0.8)
    secs = time.monotonic() - started
    choice = answer.choices[0]
    expect(answer.object == "chat.completion" and answer.model == model, f"head of the answer: {answer}")
    expect(choice.message.role == "assistant" and isinstance(choice.message.content, str), f"message: {choice}")
    expect(choice.finish_reason in ("stop", "length"), f"finish reason {choice.finish_reason}")
    usage = answer.usage
    expect(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, f"usage: {usage}")
    expect(0 < usage.completion_tokens <= 40, f"usage: {usage}")
    print(f"chat: {usage.completion_tokens} tokens in {secs:.2f} s: {choice.message.content[:80]!r}")
    again = client.chat.completions.create(model=model, messages=CHAT, max_tokens=40, seed=7, temperature=0.8)
    expect(again.choices[0].message.content == choice.message.content, "the same seed gave another text")
    return choice.message.content


def check_stream(client, model, expected):
    stream = client.chat.completions.create(
        model=model, messages=CHAT, max_tokens=40, seed=7, temperature=0.8, stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    expect(chunks[0].choices[0].delta.role == "assistant", f"first chunk: {chunks[0]}")
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == expected, f"the stream's text {text!r} is not the whole answer's {expected!r}")
    expect(chunks[-1].usage is not None and not chunks[-1].choices, f"last chunk: {chunks[-1]}")
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    expect(len(finishes) == 1, f"finish reasons: {finishes}")
    print(f"stream: {len(chunks)} chunks, same text")


def check_hang_up(client, model):
    """A reader that leaves early frees its slot: after more hang-ups than there are slots the server still answers at once."""
    for seed in range(20):
        stream = client.chat.completions.create(model=model, messages=CHAT, seed=seed, stream=True)
        next(iter(stream))
        stream.close()
    client.chat.completions.create(model=model, messages=CHAT, max_tokens=1)
    print("hang-ups: 20, and the server answers")


def check_details(client, model):
    answer = client.chat.completions.create(
        model=model, messages=CHAT, max_tokens=8, n=2, logprobs=True, top_logprobs=3, seed=1, user="someone",
        presence_penalty=0.5, frequency_penalty=0.5, top_p=0.9, stop=["\n\n\n"],
    )
    expect([choice.index for choice in answer.choices] == [0, 1], "two choices")
    for choice in answer.choices:
        for token in choice.logprobs.content:
            expect(token.logprob <= 0 and len(token.top_logprobs) == 3, f"logprobs: {token}")
            expect(token.top_logprobs[0].logprob >= token.logprob - 1e-6, "the first alternative is the likeliest")
    greedy = [client.chat.completions.create(model=model, messages=CHAT, max_tokens=12, temperature=0) for _ in range(2)]
    expect(greedy[0].choices[0].message.content == greedy[1].choices[0].message.content, "greedy is repeatable")
    print("details: n, logprobs, penalties, greedy")


def check_completions(client, model):
    answer = client.completions.create(model=model, prompt=["fn main() {", "pub struct"], max_tokens=8, seed=3, logprobs=1)
    expect([choice.index for choice in answer.choices] == [0, 1], "one choice for each prompt")
    expect(all(len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) for choice in answer.choices), "lists")
    echo = client.completions.create(model=model, prompt="fn main() {", max_tokens=2, echo=True, logprobs=0, temperature=0)
    expect(echo.choices[0].text.startswith("fn main() {"), f"echo: {echo.choices[0].text!r}")
    expect(echo.choices[0].logprobs.token_logprobs[0] is None, "the first token has no score")
    stream = client.completions.create(model=model, prompt="fn main() {", max_tokens=8, seed=3, stream=True)
    expect(isinstance("".join(chunk.choices[0].text for chunk in stream), str), "a streamed completion")
    print("completions: two prompts, echo with scores, stream")


def check_embeddings(client, model):
    plain = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
    coded = client.embeddings.create(model=model, input=["one", "two"])  # the client asks for base64 by itself
    for one, other in zip(plain.data, coded.data):
        expect(max(abs(a - b) for a, b in zip(one.embedding, other.embedding)) < 1e-6, "float and base64 are one vector")
        expect(abs(sum(number * number for number in one.embedding) - 1) < 1e-4, "unit length")
    print(f"embeddings: {len(plain.data)} vectors of {len(plain.data[0].embedding)} numbers, float and base64")


def check_models(client, model):
    expect([item.id for item in client.models.list()] == [model], "the list of models")
    expect(client.models.retrieve(model).id == model, "one model")
    expect_error(openai.NotFoundError, 404, "model", lambda: client.models.retrieve("no-such-model"))
    print("models: list and retrieve")


def check_errors(client, model):
    def create(**arguments):
        return lambda: client.chat.completions.create(**{"model": model, "messages": CHAT, **arguments})

    bad = openai.BadRequestError
    expect_error(openai.NotFoundError, 404, "model", create(model="no-such-model"))
    expect_error(bad, 400, "messages", create(messages=[]))
    expect_error(bad, 400, "messages", create(max_tokens=10_000_000))
    expect_error(bad, 400, "temperature", create(temperature=9))
    expect_error(bad, 400, "tool_choice", create(tool_choice="required"))
    expect_error(bad, 400, "response_format", create(response_format={"type": "yaml"}))
    expect_error(bad, 400, "colour", create(extra_body={"colour": "red"}))
    print("errors: 7 kinds, each naming its parameter")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="none")
    args = parser.parse_args()
    client = openai.OpenAI(base_url=args.base_url, api_key=args.api_key, max_retries=0, timeout=60)
    text = check_chat(client, args.model)
    check_stream(client, args.model, text)
    check_hang_up(client, args.model)
    check_details(client, args.model)
    check_completions(client, args.model)
    check_embeddings(client, args.model)
    check_models(client, args.model)
    check_errors(client, args.model)
    print("ok")


if __name__ == "__main__":
    main()
