// Vercel's AI SDK with its provider for compatible servers, unmodified, against Penstock.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = (apiKey = process.env.PENSTOCK_KEY) =>
  createOpenAICompatible({
    name: "penstock",
    baseURL: process.env.PENSTOCK_BASE_URL,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
const model = provider()("test-model");
const prompt = "canary-prompt-5c1f hello";
const EXPECTED = "Hello, world!";
const ADA = { name: "Ada", age: 36 };
const person = z.object({ name: z.string(), age: z.number() });
const maxRetries = 0; // a test wants to see the first answer

const add = () =>
  tool({
    description: "Adds two numbers.",
    inputSchema: jsonSchema({
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      required: ["a", "b"],
    }),
    execute: async ({ a, b }) => a + b,
  });

async function plain() {
  const answer = await generateText({ model, prompt, maxRetries, system: "Be brief.", temperature: 0.5 });
  assert.deepEqual([answer.text, answer.finishReason], [EXPECTED, "stop"]);
  assert.deepEqual([answer.usage.inputTokens, answer.usage.outputTokens, answer.usage.totalTokens], [7, 4, 11]);
}

async function streamed() {
  const answer = streamText({ model, prompt, maxRetries });
  const pieces = [];
  for await (const piece of answer.textStream) pieces.push(piece);
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join(""), EXPECTED);
  assert.equal((await answer.usage).totalTokens, 11);
  assert.equal(await answer.finishReason, "stop");
}

async function tools() {
  const ask = { model, prompt, maxRetries, tools: { add: add() }, stopWhen: stepCountIs(3) };
  const answer = await generateText(ask);
  assert.equal(answer.text, "The result is 3.");
  const [call] = answer.steps[0].toolCalls;
  assert.deepEqual([call.toolName, call.input, call.toolCallId], ["add", { a: 1, b: 2 }, "call_1"]);
  assert.equal(answer.steps[0].finishReason, "tool-calls");
  const stream = streamText(ask);
  assert.equal(await stream.text, "The result is 3.");
  assert.equal((await stream.steps)[0].toolResults[0].output, 3);
}

async function structured() {
  const answer = await generateText({ model, prompt, maxRetries, output: Output.object({ schema: person }) });
  assert.deepEqual(answer.output, ADA);
  const stream = streamText({ model, prompt, maxRetries, output: Output.object({ schema: person }) });
  const partial = [];
  for await (const one of stream.partialOutputStream) partial.push(one);
  assert.ok(partial.length > 1);
  assert.deepEqual(await stream.output, ADA);
}

async function errors() {
  const cases = [
    [provider("wrong")("test-model"), {}, 401],
    [provider()("nobody"), {}, 404],
    [provider()("failing-model"), {}, 502],
    [model, { temperature: 9 }, 422],
  ];
  for (const [model, wrong, status] of cases) {
    const error = await generateText({ model, prompt, maxRetries, ...wrong }).catch((error) => error);
    assert.ok(APICallError.isInstance(error), `${error}`);
    assert.equal(error.statusCode, status);
    assert.ok(error.message.length > 0 && !error.message.startsWith("Unprocessable"), error.message);
  }
  let seen = "";
  const failures = [];
  const cut = streamText({ model: provider()("cut-model"), prompt, maxRetries, onError: ({ error }) => failures.push(error) });
  for await (const piece of cut.textStream) seen += piece;
  assert.equal(seen, "Hello");
  assert.equal(failures.length, 1, "a cut stream ended as if it were whole");
}

for (const check of [plain, streamed, tools, structured, errors]) {
  console.log(check.name);
  await check();
}
