// Vercel's AI SDK with its provider for compatible servers, unmodified: embeddings, one and many.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany } from "ai";

const provider = createOpenAICompatible({
  name: "penstock",
  baseURL: process.env.PENSTOCK_BASE_URL,
  apiKey: process.env.PENSTOCK_KEY,
});
const values = ["canary-prompt-5c1f one", "two", "Grüße 🦀"];
const model = provider.embeddingModel("embedding-model");

const many = await embedMany({ model, values, maxRetries: 0 });
assert.equal(many.embeddings.length, 3);
assert.ok(many.embeddings.every((vector) => vector.length === many.embeddings[0].length));
assert.ok(many.usage.tokens > 0);
const one = await embed({ model, value: values[1], maxRetries: 0 });
assert.deepEqual(one.embedding, many.embeddings[1]);
