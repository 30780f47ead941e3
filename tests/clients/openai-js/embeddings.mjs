// The OpenAI SDK for JavaScript, unmodified: embeddings as it asks for them by itself (base64), and as floats.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.PENSTOCK_BASE_URL,
  apiKey: process.env.PENSTOCK_KEY,
  maxRetries: 0,
  timeout: 30_000,
});
const input = ["canary-prompt-5c1f one", "two", "Grüße 🦀"];
const ask = { model: "embedding-model", input };
const vectors = (answer) => answer.data.map((one) => Array.from(one.embedding));

const answer = await client.embeddings.create(ask);
assert.deepEqual(answer.data.map((one) => one.index), [0, 1, 2]);
assert.ok(answer.usage.prompt_tokens > 0);
const many = vectors(answer);
assert.ok(many[0].length > 1 && many.every((vector) => vector.length === many[0].length));
// One is decoded from 32-bit floats, the other read from decimals.
const floats = vectors(await client.embeddings.create({ ...ask, encoding_format: "float" }));
assert.deepEqual(floats.map((vector) => vector.map(Math.fround)), many);
assert.deepEqual(vectors(await client.embeddings.create({ ...ask, input: input[1] })), [many[1]]);
const error = await client.embeddings.create({ ...ask, model: "nobody" }).catch((error) => error);
assert.ok(error instanceof OpenAI.NotFoundError, `${error}`);
