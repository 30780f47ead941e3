"""langchain-openai, unmodified: embeddings of documents and queries, sync and async."""

import asyncio
import os

from langchain_openai import OpenAIEmbeddings

TEXTS = ["canary-prompt-5c1f one", "two", "Grüße 🦀"]

# Without this it counts tokens itself, with a vocabulary that it fetches from somewhere else.
embeddings = OpenAIEmbeddings(
    model="embedding-model",
    base_url=os.environ["PENSTOCK_BASE_URL"],
    api_key=os.environ["PENSTOCK_KEY"],
    check_embedding_ctx_length=False,
    max_retries=0,
)


async def asynchronous(many):
    assert await embeddings.aembed_documents(TEXTS) == many
    assert await embeddings.aembed_query(TEXTS[2]) == many[2]


many = embeddings.embed_documents(TEXTS)
assert len(many) == 3 and len({len(vector) for vector in many}) == 1, many
assert embeddings.embed_query(TEXTS[1]) == many[1]
asyncio.run(asynchronous(many))
