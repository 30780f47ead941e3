"""Writes a model of random weights, Llama-shaped and 600 KB small: a real engine runs it like any other."""

import sys

import gguf
import numpy

VOCABULARY, WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 512, 64, 2, 4, 128, 16384
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "


def tokens():
    """Three that control, one for each byte, and words."""
    kinds = gguf.TokenType
    yield from [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    yield from ((f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256))
    yield from ((f"▁w{number}", kinds.NORMAL) for number in range(VOCABULARY - 259))


def write(path):
    # The same weights on every machine.
    random = numpy.random.default_rng(7)

    def weights(*shape):
        return (random.standard_normal(shape) / numpy.sqrt(shape[-1])).astype(numpy.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    texts, kinds = zip(*tokens())
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(texts))
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(list(kinds))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", weights(VOCABULARY, WIDTH))
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    writer.add_tensor("output.weight", weights(VOCABULARY, WIDTH))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ["attn_norm", "ffn_norm"]:
            writer.add_tensor(f"{block}.{norm}.weight", numpy.ones(WIDTH, numpy.float32))
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            writer.add_tensor(f"{block}.{part}.weight", weights(WIDTH, WIDTH))
        for part in ["ffn_gate", "ffn_up"]:
            writer.add_tensor(f"{block}.{part}.weight", weights(HIDDEN, WIDTH))
        writer.add_tensor(f"{block}.ffn_down.weight", weights(WIDTH, HIDDEN))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(sys.argv[1])
