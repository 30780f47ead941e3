// The OpenAI SDK for JavaScript, unmodified, against Penstock: chat, stream, tools, structured output, errors.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const settings = {
  baseURL: process.env.PENSTOCK_BASE_URL,
  apiKey: process.env.PENSTOCK_KEY,
  maxRetries: 0, // a test wants to see the first answer
  timeout: 30_000,
};
const client = new OpenAI(settings);
const ask = { model: "test-model", messages: [{ role: "user", content: "canary-prompt-5c1f hello" }] };
const EXPECTED = "Hello, world!";
const Person = z.object({ name: z.string(), age: z.number() });
const ADA = { name: "Ada", age: 36 };

const parameters = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
};
const add = {
  type: "function",
  function: { name: "add", parameters, parse: JSON.parse, function: ({ a, b }) => String(a + b) },
};

async function plain() {
  const answer = await client.chat.completions.create(ask);
  assert.equal(answer.object, "chat.completion");
  assert.deepEqual([answer.choices[0].message.content, answer.choices[0].finish_reason], [EXPECTED, "stop"]);
  assert.equal(answer.choices[0].message.refusal, null);
  assert.equal(answer.usage.total_tokens, 11);
  assert.ok(answer._request_id, "the SDK finds no x-request-id");
}

async function streamed() {
  const chunks = [];
  const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), EXPECTED);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  const last = chunks.pop();
  assert.deepEqual([last.choices, last.usage.total_tokens], [[], 11]);
  assert.ok(chunks.every((chunk) => chunk.usage === null));
}

async function helper() {
  const stream = client.chat.completions.stream(ask);
  const contents = [];
  stream.on("content", (delta) => contents.push(delta));
  assert.equal(await stream.finalContent(), EXPECTED);
  assert.ok(contents.length > 1);
}

async function tools() {
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({ ...ask, tools: [add], stream });
    assert.equal(await runner.finalContent(), "The result is 3.");
    const roles = runner.messages.map((message) => message.role);
    assert.deepEqual(roles, ["user", "assistant", "tool", "assistant"]);
    assert.deepEqual([runner.messages[2].tool_call_id, runner.messages[2].content], ["call_1", "3"]);
  }
}

async function structured() {
  const response_format = zodResponseFormat(Person, "person");
  const answer = await client.chat.completions.parse({ ...ask, response_format });
  assert.deepEqual(answer.choices[0].message.parsed, ADA);
  const final = await client.chat.completions.stream({ ...ask, response_format }).finalChatCompletion();
  assert.deepEqual(final.choices[0].message.parsed, ADA);
}

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("test-model"), ids);
  assert.equal((await client.models.retrieve("test-model")).id, "test-model");
}

async function errors() {
  const stranger = new OpenAI({ ...settings, apiKey: "wrong" });
  const cases = [
    [stranger, {}, OpenAI.AuthenticationError, 401, "invalid_api_key"],
    [client, { model: "nobody" }, OpenAI.NotFoundError, 404, "model_not_found"],
    [client, { model: "nobody", stream: true }, OpenAI.NotFoundError, 404, "model_not_found"],
    [client, { temperature: 9 }, OpenAI.UnprocessableEntityError, 422, "invalid_value"],
    [client, { model: "failing-model" }, OpenAI.InternalServerError, 502, "engine_failed"],
  ];
  for (const [user, wrong, kind, status, code] of cases) {
    const error = await user.chat.completions.create({ ...ask, ...wrong }).catch((error) => error);
    assert.ok(error instanceof kind, `${error}`);
    assert.deepEqual([error.status, error.code], [status, code]);
    assert.ok(error.requestID, "an error without a request id");
  }
  const seen = [];
  const cut = async () => {
    const stream = await client.chat.completions.create({ ...ask, model: "cut-model", stream: true });
    for await (const chunk of stream) seen.push(chunk.choices[0].delta.content ?? "");
  };
  await assert.rejects(cut, (error) => error instanceof OpenAI.APIError && error.code === "engine_cut");
  assert.equal(seen.join(""), "Hello");
}

async function leaving() {
  const stream = await client.chat.completions.create({ ...ask, stream: true });
  for await (const _ of stream) break;
  const all = await Promise.all(Array.from({ length: 10 }, () => client.chat.completions.create(ask)));
  assert.ok(all.every((answer) => answer.choices[0].message.content === EXPECTED));
}

for (const check of [plain, streamed, helper, tools, structured, models, errors, leaving]) {
  console.log(check.name);
  await check();
}
