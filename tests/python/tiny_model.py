#!/usr/bin/env python3
"""Writes a model folder in Hugging Face's layout that a server loads in milliseconds and whose answers are known where it matters.

A Llama of two small layers over bytes, with random weights: what it writes has no meaning, but it depends on the whole context and on the
seed. A few tokens carry a fixed successor in their embedding, so that the model calls a tool whenever the template asks it to, and ends
its turn then. `python tests/python/tiny_model.py DIR`
"""

import json
import pathlib
import sys

import numpy
import safetensors.numpy

SPECIALS = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|use|>"]
# Tokens that are no special ones: each follows on the one before it, the first on <|use|>, and <|im_end|> on the last.
CALL = ["<tool_call>", '\n{"name": "get_weather", "arguments": ', '{"city": "Paris", "days": 3}', "}\n", "</tool_call>"]
CALLED = ("get_weather", {"city": "Paris", "days": 3})
FIRST_BYTE = len(SPECIALS) + len(CALL)
VOCAB = FIRST_BYTE + 256
CONTEXT = 8192
HIDDEN, LAYERS, HEADS, MLP = 64, 2, 4, 128
TEMPLATE = (
    "{{ bos_token }}"
    "{% if tools %}<|im_start|>system\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content %}{{ message.content }}{% endif %}"
    "{% for call in message.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if tools and messages[-1].role == 'user' %}<|use|>{% endif %}{% endif %}"
)


def byte_chars():
    """GPT-2's printable stand-in for each byte: itself where it prints, else the next free character from U+0100."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    chars = {byte: chr(byte) for byte in prints}
    hidden = [byte for byte in range(256) if byte not in chars]
    return {**chars, **{byte: chr(0x100 + place) for place, byte in enumerate(hidden)}}


def weights():
    random = numpy.random.default_rng(7)

    def normal(*shape, scale):
        return (random.standard_normal(shape) * scale).astype(numpy.float32)

    tensors = {"model.norm.weight": numpy.ones(HIDDEN, numpy.float32)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            tensors[f"{name}{norm}.weight"] = numpy.ones(HIDDEN, numpy.float32)
        for product in "qkvo":
            tensors[f"{name}self_attn.{product}_proj.weight"] = normal(HIDDEN, HIDDEN, scale=0.1)
        for product, shape in [("gate", (MLP, HIDDEN)), ("up", (MLP, HIDDEN)), ("down", (HIDDEN, MLP))]:
            tensors[f"{name}mlp.{product}_proj.weight"] = normal(*shape, scale=0.1)
    embedding, head = normal(VOCAB, HIDDEN, scale=1.0), normal(VOCAB, HIDDEN, scale=0.3)
    # One direction says "a printable character follows": every token points to it, only these answer.
    embedding[:, 0], head[:, 0] = 3.0, -6.0
    head[FIRST_BYTE + 0x20 : FIRST_BYTE + 0x7F, 0] = 1.0
    head[SPECIALS.index("<|im_end|>"), 0] = 0.7
    # One direction for each fixed successor, which nothing else uses.
    chain = [SPECIALS.index("<|use|>"), *range(len(SPECIALS), FIRST_BYTE), SPECIALS.index("<|im_end|>")]
    links = slice(1, len(chain))
    for tensor in [embedding, head]:
        tensor[:, links] = 0
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[links] = 0
    for place, (token, successor) in enumerate(zip(chain, chain[1:])):
        embedding[token, 1 + place] = 30.0
        head[successor, 1 + place] = 10.0
    return {**tensors, "model.embed_tokens.weight": embedding, "lm_head.weight": head}


def write(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    added = [
        {"id": place, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": place < len(SPECIALS)}
        for place, text in enumerate(SPECIALS + CALL)
    ]
    vocab = {token["content"]: token["id"] for token in added}
    vocab.update({char: FIRST_BYTE + byte for byte, char in byte_chars().items()})
    files = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS, "head_dim": HIDDEN // HEADS, "vocab_size": VOCAB, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "max_position_embeddings": CONTEXT, "tie_word_embeddings": False,
            "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 2,
        },
        "tokenizer.json": {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": False, "vocab": vocab, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|im_end|>",
            "pad_token": "<|pad|>", "chat_template": TEMPLATE,
        },
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    safetensors.numpy.save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    write(sys.argv[1])
