// Chats with a running server through OpenAI's own client for JavaScript and exits non-zero at the first mismatch.
//
//     node tests/npm/openai_client.mjs http://127.0.0.1:8080/v1 MODEL KEY

import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, model, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Name a colour." }];
const asked = { model, messages, max_tokens: 24, temperature: 0.7, seed: 3 };

const whole = await client.chat.completions.create(asked);
const text = whole.choices[0].message.content;
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);

let streamed = "", usage = null;
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(streamed, text);
// The second time the prompt is found in the cache.
assert.ok(usage.prompt_tokens_details.cached_tokens > 0);
assert.deepEqual({ ...usage, prompt_tokens_details: whole.usage.prompt_tokens_details }, whole.usage);
console.log(`chat: ${usage.completion_tokens} tokens, the stream has the same text`);

const runner = client.chat.completions.stream(asked);
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].message.content, text);
console.log("stream helper: the same answer");

const controller = new AbortController();
const abandoned = await client.chat.completions.create({ model, messages, stream: true, seed: 1 }, { signal: controller.signal });
for await (const _ of abandoned) { controller.abort(); break; }
console.log("abort: a stream left after its first chunk");

const completion = await client.completions.create({ model, prompt: ["a", "b"], max_tokens: 4, logprobs: 2 });
assert.deepEqual(completion.choices.map((choice) => choice.index), [0, 1]);
const models = [];
for await (const item of client.models.list()) models.push(item.id);
assert.deepEqual(models, [model]);
assert.equal((await client.models.retrieve(model)).id, model);
console.log("completions, models");

await assert.rejects(client.chat.completions.create({ ...asked, model: "none" }), (error) => error instanceof OpenAI.NotFoundError && error.param === "model");
await assert.rejects(client.chat.completions.create({ ...asked, temperature: 9 }), (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
await assert.rejects(new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
console.log("errors: NotFoundError, BadRequestError, AuthenticationError");
