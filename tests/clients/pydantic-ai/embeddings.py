"""pydantic-ai, unmodified: embeddings of documents and queries, sync and async."""

import asyncio
import os

from pydantic_ai import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.providers.openai import OpenAIProvider

TEXTS = ["canary-prompt-5c1f one", "two", "Grüße 🦀"]


def embedder():
    # A new one each time: its connections belong to one event loop.
    provider = OpenAIProvider(base_url=os.environ["PENSTOCK_BASE_URL"], api_key=os.environ["PENSTOCK_KEY"])
    return Embedder(OpenAIEmbeddingModel("embedding-model", provider=provider))


async def asynchronous(many):
    assert list((await embedder().embed_query(TEXTS[2])).embeddings) == many[2:]


result = embedder().embed_documents_sync(TEXTS)
many = list(result.embeddings)
assert len(many) == 3 and len({len(vector) for vector in many}) == 1, many
assert result.usage.input_tokens > 0, result.usage
asyncio.run(asynchronous(many))
