#!/usr/bin/env python3
"""Runs other people's clients, as published, against a served model, says what each did, and exits non-zero if any failed.

    python tests/python/clients.py target/release/cupola-serve [NAME...]

The model is `tiny_model.py`'s: its words mean nothing, so what is checked is the protocol, the arithmetic, and that the same request gives
the same answer. Nothing is asked of any other host.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Literal

HERE = pathlib.Path(__file__).parent
MODEL, KEY = "tiny", "sk-clients"
os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", LITELLM_LOCAL_MODEL_COST_MAP="True",
    LITELLM_TELEMETRY="False", LANGSMITH_TRACING="false", OPENAI_API_KEY=KEY, IS_ALPACA_EVAL_2="True",
    TQDM_DISABLE="1", LMEVAL_LOG_LEVEL="ERROR",
)
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}]


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


class Server:
    """A server of the tiny model on a free port, with its folder and a key."""

    def __init__(self, binary, home):
        self.folder = home / "model"
        subprocess.run([sys.executable, HERE / "tiny_model.py", self.folder], check=True)
        self.log = open(home / "server.log", "w")
        self.process = subprocess.Popen(
            [binary, "--model", f"{MODEL}={self.folder}", "--listen", "127.0.0.1:0", "--api-key", KEY, "--context", "768"],
            stdout=subprocess.PIPE, stderr=self.log, text=True,
        )
        line = self.process.stdout.readline()
        expect("http://" in line, f"the server did not start: {line!r}")
        self.origin = "http://" + line.split("http://")[1].split()[0]
        self.url = self.origin + "/v1"

    def stop(self):
        self.process.terminate()
        expect(self.process.wait(30) == 0, "the server did not end well")


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    expect(done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


# --- OpenAI's own --------------------------------------------------------------------------------------------------------------


def openai_python(server):
    script = [sys.executable, HERE / "openai_client.py", "--base-url", server.url, "--model", MODEL, "--api-key", KEY]
    return run(script).strip().splitlines()


def openai_node(server):
    script = HERE.parent / "npm" / "openai_client.mjs"
    return run(["node", script, server.url, MODEL, KEY]).strip().splitlines()


def weather_tools():
    import pydantic

    class Weather(pydantic.BaseModel):
        """Tells the weather of a city."""

        city: str
        days: int

    class Colour(pydantic.BaseModel):
        name: Literal["red", "blue"]
        shades: Literal[1, 2, 3]

    return Weather, Colour


def expect_call(call):
    from tiny_model import CALLED

    expect((call.name, json.loads(call.arguments)) == CALLED, f"the call: {call}")


def openai_forms_and_tools(server):
    """Structured output and calls of tools by the helpers of OpenAI's client, whole and streamed."""
    import openai

    weather, colour = weather_tools()
    client = openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0)
    made = dict(model=MODEL, messages=CHAT, temperature=0, seed=1, max_tokens=200)
    parsed = client.chat.completions.parse(**made, response_format=colour).choices[0].message.parsed
    expect(isinstance(parsed, colour), f"parsed: {parsed}")
    with client.chat.completions.stream(**made, response_format=colour) as stream:
        again = stream.get_final_completion().choices[0].message.parsed
    expect(again == parsed, f"the stream is another object: {again} and {parsed}")
    tool = openai.pydantic_function_tool(weather, name="get_weather")
    answer = client.chat.completions.create(**made, tools=[tool])
    choice = answer.choices[0]
    expect(choice.finish_reason == "tool_calls" and choice.message.content is None, f"answer: {answer}")
    expect_call(choice.message.tool_calls[0].function)
    with client.chat.completions.stream(**made, tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    expect("tool_calls.function.arguments.delta" in kinds, f"events: {kinds}")
    expect(final.finish_reason == "tool_calls", f"the stream's answer: {final}")
    expect_call(final.message.tool_calls[0].function)
    parsed_call = final.message.tool_calls[0].function.parsed_arguments
    expect(parsed_call == weather(city="Paris", days=3), f"parsed arguments: {parsed_call}")
    told = [*CHAT, choice.message, {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "rain"}]
    after = client.chat.completions.create(**{**made, "messages": told}, tools=[tool], tool_choice="none")
    expect(after.choices[0].finish_reason in ("stop", "length"), f"after the call: {after}")
    for forced in ["required", {"type": "function", "function": {"name": "paint"}}]:
        paint = openai.pydantic_function_tool(colour, name="paint")
        choice = client.chat.completions.create(**made, tools=[paint], tool_choice=forced, parallel_tool_calls=False).choices[0]
        expect(choice.finish_reason == "tool_calls" and len(choice.message.tool_calls) == 1, f"forced: {choice}")
        colour.model_validate_json(choice.message.tool_calls[0].function.arguments)
    return [f"parse and stream of {parsed}; a call by itself, forced and named; its arguments streamed; its answer taken"]


def openai_responses(server):
    """The same by /v1/responses."""
    import openai

    weather, colour = weather_tools()
    client = openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0)
    made = dict(model=MODEL, temperature=0, max_output_tokens=120)
    whole = client.responses.create(**made, input="Name a colour.", instructions="Be brief.", store=False)
    chat = client.chat.completions.create(model=MODEL, messages=CHAT, temperature=0, max_tokens=120)
    expect(whole.output_text == chat.choices[0].message.content, f"another text than the chat's: {whole.output_text!r}")
    expect(whole.usage.total_tokens == chat.usage.total_tokens, f"usage: {whole.usage}")
    text = ""
    for event in client.responses.create(**made, input=CHAT, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
    expect(event.type in ("response.completed", "response.incomplete"), f"last event: {event}")
    expect(text == whole.output_text == event.response.output_text, "the stream is another text")
    parsed = client.responses.parse(**made, input=CHAT, text_format=colour).output_parsed
    expect(isinstance(parsed, colour), f"parsed: {parsed}")
    tool = openai.pydantic_function_tool(weather, name="get_weather")["function"]
    asked = [{"role": "user", "content": "Weather?"}]
    with client.responses.stream(**made, input=asked, tools=[{"type": "function", **tool}]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    expect("response.function_call_arguments.delta" in kinds, f"events: {kinds}")
    (call,) = final.output
    expect_call(call)
    asked += [call.model_dump(exclude_none=True, exclude={"parsed_arguments"}), {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    after = client.responses.create(**made, input=asked, tools=[{"type": "function", **tool}])
    expect(after.output[0].type == "message", f"after the call: {after}")
    for refused in [dict(store=True), dict(previous_response_id="resp_1"), dict(background=True)]:
        with contextlib.suppress(openai.BadRequestError):
            client.responses.create(**made, input="Hi", **refused)
            raise AssertionError(f"{refused} was taken")
    return [f"text, stream, parse of {parsed}, a call with streamed arguments and its answer; what would be stored is refused"]


# --- frameworks ----------------------------------------------------------------------------------------------------------------


def langchain(server):
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI, OpenAI

    made = dict(model=MODEL, base_url=server.url, api_key=KEY, temperature=0, seed=1)
    chat = ChatOpenAI(**made, max_tokens=24, stream_usage=True)
    messages = [SystemMessage("Be brief."), HumanMessage("Name a colour.")]
    whole = chat.invoke(messages)
    expect(whole.usage_metadata["output_tokens"] <= 24, f"usage: {whole.usage_metadata}")
    chunks = list(chat.stream(messages))
    expect("".join(chunk.content for chunk in chunks) == whole.content, "the stream is another text")
    usages = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    expect(usages == [whole.usage_metadata] or len(usages) == 1, f"usage in the stream: {usages}")
    both = chat.batch([messages, messages])
    expect([answer.content for answer in both] == [whole.content] * 2, "a batch gave other texts")
    again = asyncio.run(chat.ainvoke(messages))
    expect(again.content == whole.content, "async gave another text")
    scored = ChatOpenAI(**made, max_tokens=4, logprobs=True, top_logprobs=2).invoke(messages)
    expect(len(scored.response_metadata["logprobs"]["content"]) == 4, "logprobs")
    weather, colour = weather_tools()
    structured = ChatOpenAI(**made, max_tokens=100).with_structured_output(colour).invoke(messages)
    expect(isinstance(structured, colour), f"structured: {structured}")
    called = ChatOpenAI(**made, max_tokens=100).bind_tools([weather]).invoke(messages).tool_calls
    expect(called[0]["args"] == {"city": "Paris", "days": 3}, f"calls: {called}")
    text = OpenAI(**made, max_tokens=8).invoke("Name a colour:")
    return [f"chat, stream with usage, batch, async, logprobs, structured output, a call; completion {text!r}"]


def litellm(server):
    import litellm

    litellm.suppress_debug_info = True
    made = dict(api_base=server.url, api_key=KEY, temperature=0, max_tokens=16, seed=1, num_retries=0)
    whole = litellm.completion(f"openai/{MODEL}", CHAT, **made)
    chunks = list(litellm.completion(f"openai/{MODEL}", CHAT, stream=True, stream_options={"include_usage": True}, **made))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == whole.choices[0].message.content, "the stream is another text")
    expect(chunks[-1].usage.total_tokens == whole.usage.total_tokens, f"usage: {chunks[-1]} and {whole.usage}")
    completion = litellm.text_completion("Name a colour:", f"text-completion-openai/{MODEL}", **made)
    expect(isinstance(completion.choices[0].text, str), f"completion: {completion}")
    with contextlib.suppress(litellm.NotFoundError):
        litellm.completion("openai/none", CHAT, **made)
        raise AssertionError("an unknown model was no NotFoundError")
    with contextlib.suppress(litellm.ContextWindowExceededError):
        litellm.completion(f"openai/{MODEL}", CHAT, **{**made, "max_tokens": 100_000})
        raise AssertionError("too long an answer was no ContextWindowExceededError")
    return ["chat, stream with usage, completion; NotFoundError, ContextWindowExceededError"]


# --- evaluations ---------------------------------------------------------------------------------------------------------------

CAPITALS = [("France", ["Paris", "Rome", "Oslo"]), ("Norway", ["Rome", "Bergen is not", "Oslo"]), ("Italy", ["Rome", "é—✓", "Bonn"])]
TASKS = {
    "capitals_choice": "output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: 0\nmetric_list: [{metric: acc}]\n",
    "capitals_words": "output_type: generate_until\ndoc_to_target: '{{choices[0]}}'\n"
    "generation_kwargs: {until: ['\\n', '.'], max_gen_toks: 12}\nmetric_list: [{metric: exact_match}]\n",
}


def lm_eval_tasks(server):
    folder = server.folder.parent / "tasks"
    folder.mkdir(exist_ok=True)
    data = folder / "capitals.jsonl"
    data.write_text("".join(json.dumps({"land": land, "choices": choices}) + "\n" for land, choices in CAPITALS))
    for name, text in TASKS.items():
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        (folder / f"{name}.yaml").write_text(head + "doc_to_text: 'The capital of {{land}} is'\ntarget_delimiter: ' '\n" + text)
    return folder


def evaluate(server, model, path, task, **arguments):
    import lm_eval
    from lm_eval.tasks import TaskManager

    made = dict(model=MODEL, base_url=f"{server.url}/{path}", num_concurrent=3, max_retries=1, **arguments)
    return lm_eval.simple_evaluate(
        model=model, model_args=made, tasks=[task], task_manager=TaskManager(include_path=str(lm_eval_tasks(server))),
        log_samples=True, bootstrap_iters=0, apply_chat_template=model == "local-chat-completions",
    )["samples"][task]


def lm_eval_completions(server):
    import openai

    tokens = dict(tokenizer_backend="huggingface", tokenizer=str(server.folder))
    samples = evaluate(server, "local-completions", "completions", "capitals_choice", batch_size=2, **tokens)
    client = openai.OpenAI(base_url=server.url, api_key=KEY)
    for sample, (land, choices) in zip(samples, CAPITALS):
        for (score, is_greedy), choice in zip((response[0] for response in sample["resps"]), choices):
            prompt = f"The capital of {land} is"
            # The tokenizer has one token a byte; a prompt as text would begin with the token of a document's start.
            own = client.completions.create(
                model=MODEL, prompt=[[byte + 10 for byte in f"{prompt} {choice}".encode()]], max_tokens=0, echo=True, logprobs=0,
            ).choices[0]
            logprobs = own.logprobs.token_logprobs[len(prompt.encode()) :]
            expect(math.isclose(sum(logprobs), float(score), abs_tol=1e-4), f"{land}, {choice}: {sum(logprobs)} and {score}")
            expect(str(is_greedy) == "False", f"{land}, {choice}: greedy {is_greedy}")
    words = evaluate(server, "local-completions", "completions", "capitals_words", **tokens)
    return [f"9 likelihoods equal those of one request each; {len(words)} generations such as {words[0]['resps'][0][0]!r}"]


def lm_eval_chat(server):
    words = evaluate(server, "local-chat-completions", "chat/completions", "capitals_words")
    expect(all(isinstance(sample["resps"][0][0], str) for sample in words), f"answers: {words}")
    return [f"{len(words)} generations such as {words[0]['resps'][0][0]!r}"]


def alpaca_eval(server):
    from alpaca_eval.decoders.openai import openai_completions

    turn = "<|im_start|>user\n{}\n<|im_end|>"
    prompts = [turn.format(f"Which answer is better, m or M? {case}") for case in range(6)]
    config = server.folder.parent / "client.yaml"
    config.write_text(f"default:\n  - client_class: openai.OpenAI\n    api_key: {KEY}\n    base_url: {server.url}\n")
    made = dict(model_name=MODEL, client_config_path=str(config), is_chat=True, price_per_token=0, n_retries=1)
    answers = openai_completions(prompts, max_tokens=30, temperature=0, **made)
    expect(len(answers["completions"]) == len(prompts), f"answers: {answers}")
    judged = openai_completions(prompts, max_tokens=1, temperature=1, seed=4, logprobs=True, top_logprobs=5, **made)
    for choice in judged["completions_all"]:
        (token,) = choice["logprobs"]["content"]
        tops = [top["logprob"] for top in token["top_logprobs"]]
        expect(len(tops) == 5 and tops == sorted(tops, reverse=True), f"five alternatives, best first: {token}")
        expect(all(math.isfinite(top) and top <= 0 for top in tops), f"logarithms: {tops}")
    return [f"{len(prompts)} answers; {len(prompts)} judgements of one token with 5 alternatives"]


def guidellm_requests(server):
    """What guidellm asks beyond OpenAI's API: answers of exact length, and usage in every chunk."""
    import openai

    client = openai.OpenAI(base_url=server.url, api_key=KEY)
    extra = {"ignore_eos": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    for create in [
        lambda: client.chat.completions.create(
            model=MODEL, messages=CHAT, max_completion_tokens=64, stop=None, stream=True, extra_body=extra),
        lambda: client.completions.create(model=MODEL, prompt="one two", max_tokens=64, stop=None, stream=True, extra_body=extra),
    ]:
        counts = [chunk.usage.completion_tokens for chunk in create()]
        expect(counts == sorted(counts) and counts[-1] == 64, f"tokens so far: {counts}")
    return ["answers of exactly 64 tokens, usage in each chunk"]


def schemathesis(server):
    """Requests by the OpenAPI document, and ones it forbids. That a request by the document is accepted is not asked: that a model has the
    name and that a prompt fits its context are not in it."""
    return run([
        pathlib.Path(sys.executable).with_name("schemathesis"), "run", f"{server.origin}/openapi.json", "--url", server.origin,
        "--header", f"Authorization: Bearer {KEY}", "--exclude-checks", "positive_data_acceptance", "--max-examples", "15",
        "--seed", "1", "--no-color", "--request-timeout", "30", "--generation-database", "none",
    ], cwd=server.folder.parent).strip().splitlines()[-8:]


CLIENTS = {
    "openai (PyPI)": openai_python,
    "openai (PyPI): forms and tools": openai_forms_and_tools,
    "openai (PyPI): responses": openai_responses,
    "openai (npm)": openai_node,
    "langchain-openai": langchain,
    "litellm": litellm,
    "lm-eval local-completions": lm_eval_completions,
    "lm-eval local-chat-completions": lm_eval_chat,
    "alpaca_eval": alpaca_eval,
    "as guidellm asks": guidellm_requests,
    "schemathesis": schemathesis,
}


def main():
    binary, wanted = sys.argv[1], sys.argv[2:]
    failed = []
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HF_HOME=f"{home}/huggingface")
        server = Server(binary, pathlib.Path(home))
        for name, client in CLIENTS.items():
            if wanted and not any(word in name for word in wanted):
                continue
            started = time.monotonic()
            try:
                lines = client(server)
                print(f"ok      {name} ({time.monotonic() - started:.1f} s)", *lines, sep="\n        ", flush=True)
            except (Exception, SystemExit):
                failed.append(name)
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        server.stop()
    print(f"{len(failed)} clients failed: {', '.join(failed)}" if failed else "every client is served")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
