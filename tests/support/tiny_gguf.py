"""A GGUF file of a Llama small enough to be made in milliseconds."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

WIDTH, LAYERS, HEADS, INNER = 32, 2, 2, 48
SPECIAL = ("<unk>", "<s>", "</s>")


def tiny_gguf(folder: Path) -> Path:
    """Write a random Llama (two layers, d = 32) whose tokens are characters; the same bits each time.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, tokens = folder / "tiny.gguf", [*SPECIAL, *string.ascii_lowercase, "Ġ", "Ġa"]
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    )
    writer.add_token_merges(["Ġ a"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(0)
    for name, shape in _shapes(len(tokens)).items():
        tensor = np.ones(shape) if "norm" in name else random.normal(size=shape, scale=WIDTH**-0.5)
        writer.add_tensor(f"{name}.weight", tensor.astype(np.float16 if len(shape) == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, by its name in GGUF."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (vocabulary, WIDTH), "output_norm": (WIDTH,)}
    for number in range(LAYERS):
        block: dict[str, tuple[int, ...]] = {f"attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v")}
        block |= {"attn_output": (WIDTH, WIDTH), "ffn_down": (WIDTH, INNER)}
        block |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
        block |= {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
        shapes |= {f"blk.{number}.{name}": shape for name, shape in block.items()}
    return shapes
