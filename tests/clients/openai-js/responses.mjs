// The OpenAI SDK for JavaScript, unmodified: responses, plain and streamed, with tools and types, kept, in the background.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const settings = {
  baseURL: process.env.PENSTOCK_BASE_URL,
  apiKey: process.env.PENSTOCK_KEY,
  maxRetries: 0, // a test wants to see the first answer
  timeout: 30_000,
};
const client = new OpenAI(settings);
const prompt = "canary-prompt-5c1f hello";
const ask = { model: "test-model", input: prompt };
const EXPECTED = "Hello, world!";
const RESULT = "The result is 3.";
const Person = z.object({ name: z.string(), age: z.number() });
const ADA = { name: "Ada", age: 36 };
const tools = [zodResponsesFunction({ name: "add", parameters: z.object({ a: z.number(), b: z.number() }) })];

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

/** The sequence is as the specification has it; its end is given back. */
function judge(events) {
  const types = events.map((event) => event.type);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.deepEqual([types[0], types[1], types.at(-1)], ["response.created", "response.in_progress", "response.completed"]);
  const final = events.at(-1).response;
  for (const kind of ["added", "done"]) {
    assert.equal(types.filter((type) => type === `response.output_item.${kind}`).length, final.output.length);
  }
  assert.equal(events[0].response.id, final.id);
  return final;
}

const joined = (events, type) => events.filter((event) => event.type === type).map((event) => event.delta).join("");

async function plain() {
  const answer = await client.responses.create({ ...ask, instructions: "Be brief.", metadata: { topic: "plain" } });
  assert.deepEqual([answer.object, answer.status, answer.model], ["response", "completed", "test-model"]);
  assert.equal(answer.output_text, EXPECTED);
  assert.deepEqual([answer.instructions, answer.metadata, answer.error], ["Be brief.", { topic: "plain" }, null]);
  assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens], [7, 4, 11]);
  assert.ok(answer._request_id, "the SDK finds no x-request-id");
}

async function streamed() {
  const events = await collect(await client.responses.create({ ...ask, stream: true }));
  const final = judge(events);
  assert.equal(joined(events, "response.output_text.delta"), EXPECTED);
  assert.equal(final.output[0].content[0].text, EXPECTED);
  assert.equal(final.usage.total_tokens, 11);
}

async function helper() {
  const stream = client.responses.stream(ask);
  const snapshots = [];
  stream.on("response.output_text.delta", (event) => snapshots.push(event.snapshot));
  const final = await stream.finalResponse();
  assert.deepEqual([final.output_text, snapshots.at(-1)], [EXPECTED, EXPECTED]);
  assert.ok(snapshots.length > 1);
}

/** Runs the tool that was called. */
function outputOf(answer) {
  const [call] = answer.output.filter((item) => item.type === "function_call");
  assert.deepEqual([call.call_id, call.name, answer.output_text], ["call_1", "add", ""]);
  const { a, b } = JSON.parse(call.arguments);
  return { type: "function_call_output", call_id: call.call_id, output: String(a + b) };
}

async function loops() {
  const answer = await client.responses.create({ ...ask, tools });
  const input = [{ role: "user", content: prompt }, ...answer.output, outputOf(answer)];
  assert.equal((await client.responses.create({ model: ask.model, input, tools, store: false })).output_text, RESULT);
  const next = { model: ask.model, tools, previous_response_id: answer.id, input: [outputOf(answer)] };
  assert.equal((await client.responses.create(next)).output_text, RESULT);

  const parsed = await client.responses.parse({ ...ask, tools });
  assert.deepEqual(parsed.output[0].parsed_arguments, { a: 1, b: 2 });
  const final = await client.responses.stream({ ...ask, tools }).finalResponse();
  assert.deepEqual(final.output[0].parsed_arguments, { a: 1, b: 2 });
  const again = { ...next, previous_response_id: final.id, input: [outputOf(final)] };
  assert.equal((await client.responses.stream(again).finalResponse()).output_text, RESULT);
}

async function structured() {
  const text = { format: zodTextFormat(Person, "person") };
  assert.deepEqual((await client.responses.parse({ ...ask, text })).output_parsed, ADA);
  assert.deepEqual((await client.responses.stream({ ...ask, text }).finalResponse()).output_parsed, ADA);
}

async function reasoning() {
  const thinking = { ...ask, reasoning: { effort: "low", summary: "auto" } };
  const answer = await client.responses.create(thinking);
  assert.deepEqual(answer.output.map((item) => item.type), ["reasoning", "message"]);
  assert.equal(answer.output[0].summary[0].text, "Let me think.");
  const events = await collect(await client.responses.create({ ...thinking, stream: true }));
  assert.equal(joined(events, "response.reasoning_summary_text.delta"), "Let me think.");
  assert.deepEqual(judge(events).output.map((item) => item.type), ["reasoning", "message"]);
}

async function kept() {
  const answer = await client.responses.create(ask);
  assert.deepEqual(await client.responses.retrieve(answer.id), answer);
  const last = await client.responses.create({ model: ask.model, previous_response_id: answer.id, input: "more" });
  const texts = [];
  for await (const item of client.responses.inputItems.list(last.id, { order: "asc", limit: 1 })) texts.push(item.content[0].text);
  assert.deepEqual(texts, [prompt, EXPECTED, "more"]);
  await client.responses.delete(answer.id);
  for (const call of [
    () => client.responses.retrieve(answer.id),
    () => client.responses.delete(answer.id),
    () => client.responses.cancel(answer.id),
    () => client.responses.inputItems.list(answer.id),
    () => client.responses.create({ ...ask, previous_response_id: answer.id }),
  ]) {
    await assert.rejects(call, (error) => error instanceof OpenAI.NotFoundError && error.code === "not_found");
  }
}

async function background() {
  let response = await client.responses.create({ ...ask, background: true });
  for (let rounds = 0; ["queued", "in_progress"].includes(response.status); rounds += 1) {
    assert.ok(rounds < 300, "it never ends");
    await sleep(100);
    response = await client.responses.retrieve(response.id);
  }
  assert.deepEqual([response.status, response.output_text], ["completed", EXPECTED]);
  const begun = await client.responses.create({ ...ask, model: "silent-model", background: true });
  assert.equal((await client.responses.cancel(begun.id)).status, "cancelled");
  assert.equal((await client.responses.retrieve(begun.id)).status, "cancelled");
}

async function counted() {
  const count = await client.responses.inputTokens.count(ask);
  assert.equal(count.object, "response.input_tokens");
  assert.ok(count.input_tokens > 0);
}

async function errors() {
  const stranger = new OpenAI({ ...settings, apiKey: "wrong" });
  const cases = [
    [stranger, {}, OpenAI.AuthenticationError, 401, "invalid_api_key"],
    [client, { model: "nobody" }, OpenAI.NotFoundError, 404, "model_not_found"],
    [client, { model: "nobody", stream: true }, OpenAI.NotFoundError, 404, "model_not_found"],
    [client, { temperature: 9 }, OpenAI.UnprocessableEntityError, 422, "invalid_value"],
    [client, { tools: [{ type: "web_search" }] }, OpenAI.UnprocessableEntityError, 422, "invalid_value"],
    [client, { model: "failing-model" }, OpenAI.InternalServerError, 502, "engine_failed"],
    [client, { model: "failing-model", stream: true }, OpenAI.InternalServerError, 502, "engine_failed"],
    [client, { model: "cut-model" }, OpenAI.InternalServerError, 502, "engine_cut"],
  ];
  for (const [user, wrong, kind, status, code] of cases) {
    const error = await user.responses.create({ ...ask, ...wrong }).catch((error) => error);
    assert.ok(error instanceof kind, `${JSON.stringify(wrong)}: ${error}`);
    assert.deepEqual([error.status, error.code], [status, code]);
    assert.ok(error.requestID, "an error without a request id");
  }
  const seen = [];
  const cut = async () => {
    const stream = await client.responses.create({ ...ask, model: "cut-model", stream: true });
    for await (const event of stream) seen.push(event);
  };
  await assert.rejects(cut, (error) => error instanceof OpenAI.APIError && error.code === "engine_cut");
  assert.equal(joined(seen, "response.output_text.delta"), "Hello");
  assert.ok(seen.every((event) => event.type !== "response.completed"));
  await assert.rejects(client.responses.stream({ ...ask, model: "cut-model" }).finalResponse(), OpenAI.APIError);
}

async function leaving() {
  const stream = await client.responses.create({ ...ask, stream: true });
  for await (const _ of stream) break;
  const all = await Promise.all(Array.from({ length: 10 }, () => client.responses.create(ask)));
  assert.ok(all.every((answer) => answer.output_text === EXPECTED));
}

const checks = [plain, streamed, helper, loops, structured, reasoning, kept, background, counted, errors, leaving];
for (const check of checks) {
  console.log(check.name);
  await check();
}
