// Anthropic's SDK for JavaScript, unmodified, against Penstock: messages, stream, tools, thinking, types, errors.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const settings = {
  baseURL: process.env.PENSTOCK_BASE_URL.replace(/\/v1$/, ""),
  apiKey: process.env.PENSTOCK_KEY,
  maxRetries: 0, // a test wants to see the first answer
  timeout: 30_000,
};
const client = new Anthropic(settings);
const messages = [{ role: "user", content: "canary-prompt-5c1f hello" }];
const ask = { model: "test-model", max_tokens: 2000, messages };
const EXPECTED = "Hello, world!";
const RESULT = "The result is 3.";
const Person = z.object({ name: z.string(), age: z.number() });
const ADA = { name: "Ada", age: 36 };
const properties = { a: { type: "integer" }, b: { type: "integer" } };
const tools = [
  { name: "add", description: "Adds two numbers.", input_schema: { type: "object", properties, required: ["a", "b"] } },
];
const thinking = { type: "enabled", budget_tokens: 1024 };

const textOf = (message) => message.content.map((block) => block.text ?? "").join("");
const typesOf = (message) => message.content.map((block) => block.type);

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function plain() {
  const answer = await client.messages.create({ ...ask, system: "Be brief.", temperature: 0.5 });
  assert.deepEqual([answer.type, answer.role, answer.model], ["message", "assistant", "test-model"]);
  assert.deepEqual([textOf(answer), answer.stop_reason, answer.stop_sequence], [EXPECTED, "end_turn", null]);
  assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [7, 4]);
  assert.ok(answer._request_id, "the SDK finds no request-id");
}

async function streamed() {
  const events = await collect(await client.messages.create({ ...ask, stream: true }));
  const types = events.map((event) => event.type);
  assert.deepEqual(types.slice(0, 2), ["message_start", "content_block_start"]);
  assert.deepEqual(types.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
  assert.equal(events.map((event) => event.delta?.text ?? "").join(""), EXPECTED);
  assert.deepEqual([events.at(-2).delta.stop_reason, events.at(-2).usage.output_tokens], ["end_turn", 4]);
}

async function helper() {
  const stream = client.messages.stream(ask);
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  assert.equal(await stream.finalText(), EXPECTED);
  assert.ok(pieces.length > 1);
  const { usage } = await stream.finalMessage();
  assert.deepEqual([usage.input_tokens, usage.output_tokens], [7, 4]);
}

/** The conversation with the result of the tool that was called. */
function followUp(answer) {
  const call = answer.content.at(-1);
  assert.deepEqual([answer.stop_reason, call.type, call.id, call.name], ["tool_use", "tool_use", "call_1", "add"]);
  const content = [{ type: "tool_result", tool_use_id: call.id, content: String(call.input.a + call.input.b) }];
  return [...messages, { role: "assistant", content: answer.content }, { role: "user", content }];
}

async function loops() {
  const answer = await client.messages.create({ ...ask, tools });
  assert.equal(textOf(await client.messages.create({ ...ask, tools, messages: followUp(answer) })), RESULT);
  const final = await client.messages.stream({ ...ask, tools }).finalMessage();
  assert.deepEqual(final.content[0].input, { a: 1, b: 2 });
  assert.equal(await client.messages.stream({ ...ask, tools, messages: followUp(final) }).finalText(), RESULT);
}

async function runner() {
  const inputSchema = z.object({ a: z.number(), b: z.number() });
  const add = betaZodTool({ name: "add", inputSchema, description: "Adds.", run: ({ a, b }) => String(a + b) });
  // As it comes, it asks for a thread that the server keeps, and goes on without when it hears that there is none.
  for (const more of [{}, { thread: false }]) {
    assert.equal(textOf(await client.beta.messages.toolRunner({ ...ask, ...more, tools: [add] })), RESULT);
    const answers = [];
    for await (const turn of client.beta.messages.toolRunner({ ...ask, ...more, tools: [add], stream: true })) {
      answers.push(await turn.finalMessage());
    }
    assert.deepEqual(answers.map((answer) => answer.stop_reason), ["tool_use", "end_turn"]);
    assert.equal(textOf(answers[1]), RESULT);
  }
}

async function structured() {
  const output_config = { format: zodOutputFormat(Person) };
  assert.deepEqual((await client.messages.parse({ ...ask, output_config })).parsed_output, ADA);
  assert.deepEqual((await client.messages.stream({ ...ask, output_config }).finalMessage()).parsed_output, ADA);
  const tool = { name: "person", input_schema: { type: "object", properties: { name: { type: "string" } } } };
  const forced = { tools: [tool], tool_choice: { type: "tool", name: "person" } };
  assert.deepEqual((await client.messages.create({ ...ask, ...forced })).content[0].input, ADA);
}

async function thoughts() {
  const answer = await client.messages.create({ ...ask, thinking });
  assert.deepEqual([typesOf(answer), answer.content[0].thinking], [["thinking", "text"], "Let me think."]);
  const final = await client.messages.stream({ ...ask, thinking }).finalMessage();
  assert.deepEqual([typesOf(final), final.content[0].thinking], [["thinking", "text"], "Let me think."]);
  const call = await client.messages.create({ ...ask, thinking, tools });
  assert.equal(textOf(await client.messages.create({ ...ask, tools, messages: followUp(call) })), RESULT);
}

async function counted() {
  const count = await client.messages.countTokens({ model: ask.model, messages });
  assert.ok(count.input_tokens > 0);
}

async function models() {
  const ids = [];
  for await (const model of client.models.list({ limit: 1 })) ids.push(model.id);
  assert.ok(ids.includes("test-model") && ids.includes("cut-model"), ids);
  const model = await client.models.retrieve("test-model");
  assert.deepEqual([model.type, model.id], ["model", "test-model"]);
}

async function errors() {
  const stranger = new Anthropic({ ...settings, apiKey: "wrong" });
  const cases = [
    [stranger, {}, Anthropic.AuthenticationError, 401, "authentication_error"],
    [client, { model: "nobody" }, Anthropic.NotFoundError, 404, "not_found_error"],
    [client, { model: "nobody", stream: true }, Anthropic.NotFoundError, 404, "not_found_error"],
    [client, { temperature: 9 }, Anthropic.BadRequestError, 400, "invalid_request_error"],
    [client, { tools: [{ type: "web_search_20250305", name: "web_search" }] }, Anthropic.BadRequestError, 400, "invalid_request_error"],
    [client, { model: "failing-model" }, Anthropic.InternalServerError, 502, "api_error"],
    [client, { model: "failing-model", stream: true }, Anthropic.InternalServerError, 502, "api_error"],
    [client, { model: "cut-model" }, Anthropic.InternalServerError, 502, "api_error"],
  ];
  for (const [user, wrong, kind, status, type] of cases) {
    const error = await user.messages.create({ ...ask, ...wrong }).catch((error) => error);
    assert.ok(error instanceof kind, `${JSON.stringify(wrong)}: ${error}`);
    assert.deepEqual([error.status, error.type], [status, type]);
    assert.ok(error.apiMessage && error.requestID, "an error without a message or a request id");
  }
  const seen = [];
  const cut = async () => {
    const stream = await client.messages.create({ ...ask, model: "cut-model", stream: true });
    for await (const event of stream) seen.push(event);
  };
  await assert.rejects(cut, (error) => error instanceof Anthropic.APIError && error.type === "api_error");
  assert.equal(seen.map((event) => event.delta?.text ?? "").join(""), "Hello");
  assert.ok(seen.every((event) => !["message_delta", "message_stop"].includes(event.type)));
  await assert.rejects(client.messages.stream({ ...ask, model: "cut-model" }).finalMessage(), Anthropic.APIError);
}

async function leaving() {
  const stream = await client.messages.create({ ...ask, stream: true });
  for await (const _ of stream) break;
  const all = await Promise.all(Array.from({ length: 10 }, () => client.messages.create(ask)));
  assert.ok(all.every((answer) => textOf(answer) === EXPECTED));
}

const checks = [plain, streamed, helper, loops, runner, structured, thoughts, counted, models, errors, leaving];
for (const check of checks) {
  console.log(check.name);
  await check();
}
