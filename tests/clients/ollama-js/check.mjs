// Ollama's package for JavaScript, unmodified, against Penstock: chat, generate, tools, thinking, formats, vectors, models.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Ollama } from "ollama";

const host = process.env.PENSTOCK_BASE_URL.replace(/\/v1$/, "");
const as = (key) => new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });
const client = as(process.env.PENSTOCK_KEY);
const prompt = "canary-prompt-5c1f hello";
const messages = [{ role: "user", content: prompt }];
const model = "test-model";
const ask = { model, messages };
const EXPECTED = "Hello, world!";
const RESULT = "The result is 3.";
const ADA = { name: "Ada", age: 36 };
const person = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } } };
const properties = { a: { type: "integer" }, b: { type: "integer" } };
const parameters = { type: "object", properties, required: ["a", "b"] };
const tools = [{ type: "function", function: { name: "add", description: "Adds two numbers.", parameters } }];

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

const contentOf = (parts) => parts.map((part) => part.message.content ?? "").join("");

function endsWell(answer) {
  assert.deepEqual([answer.done, answer.done_reason], [true, "stop"]);
  assert.deepEqual([answer.prompt_eval_count, answer.eval_count], [7, 4]);
  assert.ok(answer.total_duration > 0 && answer.prompt_eval_duration + answer.eval_duration <= answer.total_duration);
}

async function chat() {
  const answer = await client.chat({ ...ask, options: { temperature: 0.5, num_predict: 50 }, keep_alive: "5m" });
  assert.deepEqual([answer.model, answer.message.role, answer.message.content], [model, "assistant", EXPECTED]);
  endsWell(answer);
}

async function streamed() {
  const parts = await collect(await client.chat({ ...ask, stream: true }));
  assert.ok(parts.length > 2);
  assert.equal(contentOf(parts), EXPECTED);
  endsWell(parts.at(-1));
}

async function generate() {
  const answer = await client.generate({ model, prompt, system: "Be brief." });
  assert.equal(answer.response, EXPECTED);
  endsWell(answer);
  const parts = await collect(await client.generate({ model, prompt, stream: true }));
  assert.equal(parts.map((part) => part.response).join(""), EXPECTED);
  endsWell(parts.at(-1));
}

/** The conversation with the result of the tool that was called. */
function followUp(message) {
  const [call] = message.tool_calls;
  assert.deepEqual([call.function.name, call.function.arguments], ["add", { a: 1, b: 2 }]);
  const { a, b } = call.function.arguments;
  return [...messages, message, { role: "tool", content: String(a + b), tool_name: "add" }];
}

async function loops() {
  const { message } = await client.chat({ ...ask, tools });
  assert.equal((await client.chat({ model, tools, messages: followUp(message) })).message.content, RESULT);
  const parts = await collect(await client.chat({ ...ask, tools, stream: true }));
  const calling = parts.filter((part) => part.message.tool_calls?.length);
  assert.equal(calling.length, 1, "a call comes whole, once");
  const again = { model, tools, messages: followUp(calling[0].message), stream: true };
  assert.equal(contentOf(await collect(await client.chat(again))), RESULT);
}

async function structured() {
  for (const format of [person, "json"]) {
    assert.deepEqual(JSON.parse((await client.chat({ ...ask, format })).message.content), ADA);
    assert.deepEqual(JSON.parse(contentOf(await collect(await client.chat({ ...ask, format, stream: true })))), ADA);
    assert.deepEqual(JSON.parse((await client.generate({ model, prompt, format })).response), ADA);
  }
}

async function thinking() {
  for (const think of [true, "low"]) {
    const { message } = await client.chat({ ...ask, think });
    assert.deepEqual([message.thinking, message.content], ["Let me think.", EXPECTED]);
  }
  const parts = await collect(await client.chat({ ...ask, think: true, stream: true }));
  assert.equal(parts.map((part) => part.message.thinking ?? "").join(""), "Let me think.");
  assert.equal(contentOf(parts), EXPECTED);
  assert.equal((await client.chat({ ...ask, think: false })).message.thinking, undefined);
}

async function vectors() {
  const many = await client.embed({ model: "embedding-model", input: ["one", "two"] });
  assert.equal(many.embeddings.length, 2);
  const one = await client.embed({ model: "embedding-model", input: "two" });
  assert.deepEqual(one.embeddings[0], many.embeddings[1]);
  const old = await client.embeddings({ model: "embedding-model", prompt: "two" });
  assert.deepEqual(old.embedding, many.embeddings[1]);
}

async function models() {
  const names = (await client.list()).models.map((model) => model.name);
  assert.ok(names.includes(model) && names.includes("ollama-model"), names);
  const shown = await client.show({ model: "ollama-model" });
  assert.ok(shown.capabilities.includes("completion") && shown.model_info && shown.details);
  assert.match((await client.version()).version, /^\d+\.\d+/);
  // Told by an engine, which is asked now and then.
  let running = [];
  for (let rounds = 0; !running.includes("ollama-model"); rounds += 1) {
    assert.ok(rounds < 300, `${running}`);
    await sleep(100);
    running = (await client.ps()).models.map((model) => model.name);
  }
  assert.ok(!running.includes(model), "nobody knows");
  assert.equal((await client.chat({ model: "ollama-model", messages })).message.content, EXPECTED);
}

async function errors() {
  const cases = [
    [as("wrong").chat(ask), 401],
    [as("wrong").list(), 401],
    [client.chat({ model: "nobody", messages }), 404],
    [client.chat({ model: "nobody", messages, stream: true }), 404],
    [client.chat({ ...ask, options: { temperature: 9 } }), 400],
    [client.chat({ model: "failing-model", messages }), 502],
    [client.chat({ model: "failing-model", messages, stream: true }), 502],
    [client.chat({ model: "cut-model", messages }), 502],
    [client.show({ model: "nobody" }), 404],
    // What would change an engine does not exist.
    [client.pull({ model: "llama3.2" }), 404],
    [client.pull({ model: "llama3.2", stream: true }), 404],
    [client.push({ model: "llama3.2" }), 404],
    [client.create({ model: "mine", from: "llama3.2" }), 404],
    [client.copy({ source: model, destination: "mine" }), 404],
    [client.delete({ model }), 404],
  ];
  const outcomes = await Promise.allSettled(cases.map(([call]) => call));
  for (const [at, { reason: error }] of outcomes.entries()) {
    assert.equal(error?.name, "ResponseError", `case ${at}: ${error}`);
    assert.equal(error.status_code, cases[at][1], `case ${at}: ${error}`);
    assert.ok(error.message && !error.message.startsWith("Error "), `case ${at}: ${error}`);
  }
  const seen = [];
  const cut = async () => {
    for await (const part of await client.chat({ model: "cut-model", messages, stream: true })) seen.push(part);
  };
  await assert.rejects(cut, (error) => !/Did not receive done/.test(error.message));
  assert.equal(contentOf(seen), "Hello");
}

async function leaving() {
  for await (const _ of await client.chat({ ...ask, stream: true })) break;
  const stream = await client.chat({ ...ask, stream: true });
  client.abort();
  await assert.rejects(collect(stream), { name: "AbortError" });
  const all = await Promise.all(Array.from({ length: 10 }, () => client.chat(ask)));
  assert.ok(all.every((answer) => answer.message.content === EXPECTED));
}

const checks = [chat, streamed, generate, loops, structured, thinking, vectors, models, errors, leaving];
for (const check of checks) {
  console.log(check.name);
  await check();
}
