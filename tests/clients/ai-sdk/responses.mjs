// Vercel's AI SDK with its provider for OpenAI in its default mode, which is responses, unmodified, against Penstock.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, Output, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = (apiKey = process.env.PENSTOCK_KEY) => createOpenAI({ baseURL: process.env.PENSTOCK_BASE_URL, apiKey });
const model = provider()("test-model");
const prompt = "canary-prompt-5c1f hello";
const EXPECTED = "Hello, world!";
const RESULT = "The result is 3.";
const ADA = { name: "Ada", age: 36 };
const person = z.object({ name: z.string(), age: z.number() });
const maxRetries = 0; // a test wants to see the first answer
// Kept, as is the default, the turns before are told by their ids; else they are told whole.
const KEEPING = [{}, { store: false }].map((openai) => ({ openai }));

const add = () =>
  tool({
    description: "Adds two numbers.",
    inputSchema: jsonSchema({
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      required: ["a", "b"],
      additionalProperties: false,
    }),
    execute: async ({ a, b }) => a + b,
  });

async function plain() {
  for (const providerOptions of KEEPING) {
    const answer = await generateText({ model, prompt, maxRetries, providerOptions, system: "Be brief.", temperature: 0.5 });
    assert.deepEqual([answer.text, answer.finishReason], [EXPECTED, "stop"]);
    assert.deepEqual([answer.usage.inputTokens, answer.usage.outputTokens, answer.usage.totalTokens], [7, 4, 11]);
    assert.match(answer.providerMetadata.openai.responseId, /^resp_/);
    assert.deepEqual(answer.warnings, []);
  }
}

async function streamed() {
  for (const providerOptions of KEEPING) {
    const answer = streamText({ model, prompt, maxRetries, providerOptions });
    const pieces = [];
    for await (const piece of answer.textStream) pieces.push(piece);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(""), EXPECTED);
    assert.equal((await answer.usage).totalTokens, 11);
    assert.equal(await answer.finishReason, "stop");
  }
}

async function tools() {
  for (const providerOptions of KEEPING) {
    const ask = { model, prompt, maxRetries, providerOptions, tools: { add: add() }, stopWhen: stepCountIs(3) };
    const answer = await generateText(ask);
    assert.equal(answer.text, RESULT);
    const [call] = answer.steps[0].toolCalls;
    assert.deepEqual([call.toolName, call.input, call.toolCallId], ["add", { a: 1, b: 2 }, "call_1"]);
    assert.equal(answer.steps[0].finishReason, "tool-calls");
    const stream = streamText(ask);
    assert.equal(await stream.text, RESULT);
    assert.equal((await stream.steps)[0].toolResults[0].output, 3);
  }
}

async function turns() {
  for (const providerOptions of KEEPING) {
    const messages = [{ role: "user", content: prompt }];
    for (const expected of [EXPECTED, EXPECTED, EXPECTED]) {
      const answer = await generateText({ model, messages, maxRetries, providerOptions });
      assert.equal(answer.text, expected);
      messages.push(...answer.response.messages, { role: "user", content: "And now?" });
    }
    const [first] = messages.filter((message) => message.role === "assistant");
    assert.match(first.content[0].providerOptions.openai.itemId, /^msg_/, "else nothing was referred to");
  }
  const { providerMetadata } = await generateText({ model, prompt, maxRetries });
  const openai = { previousResponseId: providerMetadata.openai.responseId };
  assert.equal((await generateText({ model, prompt, maxRetries, providerOptions: { openai } })).text, EXPECTED);
}

async function structured() {
  for (const providerOptions of KEEPING) {
    const ask = { model, prompt, maxRetries, providerOptions, output: Output.object({ schema: person }) };
    assert.deepEqual((await generateText(ask)).output, ADA);
    const stream = streamText(ask);
    const partial = [];
    for await (const one of stream.partialOutputStream) partial.push(one);
    assert.ok(partial.length > 1);
    assert.deepEqual(await stream.output, ADA);
  }
}

async function reasoning() {
  for (const { openai } of KEEPING) {
    const thinking = { ...openai, forceReasoning: true, reasoningEffort: "low", reasoningSummary: "auto" };
    const ask = { model, prompt, maxRetries, providerOptions: { openai: thinking } };
    const answer = await generateText(ask);
    assert.deepEqual([answer.reasoningText, answer.text], ["Let me think.", EXPECTED]);
    const stream = streamText(ask);
    assert.deepEqual([await stream.reasoningText, await stream.text], ["Let me think.", EXPECTED]);
    // An agent that thinks: its call and what it thought before come back with the result.
    const loop = { ...ask, tools: { add: add() }, stopWhen: stepCountIs(3) };
    assert.equal((await generateText(loop)).text, RESULT);
    assert.equal(await streamText(loop).text, RESULT);
  }
}

async function errors() {
  const cases = [
    [provider("wrong")("test-model"), {}, 401],
    [provider()("nobody"), {}, 404],
    [provider()("failing-model"), {}, 502],
    [provider()("cut-model"), {}, 502],
    [model, { temperature: 9 }, 422],
    [model, { providerOptions: { openai: { previousResponseId: "resp_nobody" } } }, 404],
    [model, { tools: { search: provider().tools.webSearch() } }, 422],
  ];
  for (const [model, wrong, status] of cases) {
    const error = await generateText({ model, prompt, maxRetries, ...wrong }).catch((error) => error);
    assert.ok(APICallError.isInstance(error), `${error}`);
    assert.equal(error.statusCode, status, error.message);
    assert.ok(error.message.length > 0 && !error.message.startsWith("Unprocessable"), error.message);
  }
  let seen = "";
  const failures = [];
  const cut = streamText({ model: provider()("cut-model"), prompt, maxRetries, onError: ({ error }) => failures.push(error) });
  for await (const piece of cut.textStream) seen += piece;
  assert.equal(seen, "Hello");
  assert.equal(failures.length, 1, "a cut stream ended as if it were whole");
  assert.equal(await cut.finishReason, "error");
}

for (const check of [plain, streamed, tools, turns, structured, reasoning, errors]) {
  console.log(check.name);
  await check();
}
