"""Changes to bytes, JSON and tensors: damage as disks do it, and values that a forger may write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save

DEEP = 300
"""Nested lists that orjson reads and does not write."""
DEEPER = 100_000
HOSTILE: tuple[object, ...] = (
    10**12,
    10**30,
    -1,
    -(10**12),
    0,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    "../../outside/bait.json",
    "/outside/bait.json",
    "..",
    "\x00",
    "\ud800",
    "x" * 100_000,
    "999999999-999999999999999",
    True,
    None,
    [],
    {},
    "@deep",
    "@deeper",
)
DTYPES = ("F64", "F16", "I64", "U8", "BOOL", "F8_E4M3", "nonsense")
SHAPES: tuple[object, ...] = ([10**12], [10**12, 10**12], [-1], [], [0], "x", [2**63])

Change = Callable[[bytes, Random], bytes]


def _flip_bit(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content))
    size = min(len(content) - start, random.randint(1, 64))
    return content[:start] + random.randbytes(size) + content[start + size :]


def _truncate(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def _grow(content: bytes, random: Random) -> bytes:
    return content + random.choice((b"\x00", b" ", b"}", random.randbytes(random.randint(1, 4_096))))


def _replace(_: bytes, random: Random) -> bytes:
    deep, deeper = (b"[" * depth + b"]" * depth for depth in (1_000, DEEPER))
    form = b'{"format":' + deep + b"}"
    others = (b"", b"null", b"[]", b"{}", b'"x"', b"5", b"[[[", deep, deeper, form)
    return random.choice((*others, random.randbytes(200)))


DAMAGES: Mapping[str, Change] = {
    "bit": _flip_bit,
    "overwritten": _overwrite,
    "truncated": _truncate,
    "grown": _grow,
    "replaced": _replace,
}


def hostile_json(content: bytes, random: Random) -> bytes:
    """Change one value of a JSON text at any depth: to a hostile one, or remove it, or add a field."""
    root = [json.loads(content)]
    _change_value(root, 0, random)
    text = json.dumps(root[0], separators=(",", ":"))
    for name, depth in {"@deeper": DEEPER, "@deep": DEEP}.items():
        text = text.replace(f'"{name}"', "[" * depth + "]" * depth)
    return text.encode()


def _change_value(holder: Any, at: Any, random: Random) -> None:
    """Walk down from ``holder[at]`` for a while, and change what is there."""
    value = holder[at]
    if isinstance(value, str) and value.startswith("{") and random.random() < 0.8:
        holder[at] = hostile_json(value.encode(), random).decode()
    elif isinstance(value, dict) and value and random.random() < 0.9:
        if random.random() < 0.1:
            value["unknown"] = random.choice(HOSTILE)
        else:
            _change_value(value, random.choice(list(value)), random)
    elif isinstance(value, list) and value and random.random() < 0.9:
        _change_value(value, random.randrange(len(value)), random)
    elif random.random() < 0.1 and isinstance(holder, dict):
        del holder[at]
    else:
        holder[at] = random.choice(HOSTILE)


def hostile_tensors(content: bytes, random: Random) -> bytes:
    """Change one value, one claim of the header, or the header as a whole of a safetensors file."""
    tensors = load(content)
    change = random.choice(("value", "value", "claim", "header", "names"))
    if change == "value" and any(tensor.numel() for tensor in tensors.values()):
        _change_number(tensors, random)
        return save(tensors)
    if change == "names" and tensors:
        tensor = tensors.pop(random.choice(list(tensors)))
        return save({**tensors, random.choice(("x" * 1_000, "../x", "", "mixer")): tensor})
    return _change_header(content, random, whole=change == "header" or not tensors)


def _change_number(tensors: dict[str, torch.Tensor], random: Random) -> None:
    name = random.choice([name for name, tensor in tensors.items() if tensor.numel()])
    flat = tensors[name].view(-1)
    floats = (float("nan"), float("inf"), -float("inf"), 3e38, -1.0, 1e9)
    wholes = (0, 7, 10, 128, 255) if flat.dtype == torch.uint8 else (-1, 10**9, 2**31 - 1, -(2**31), 7)
    flat[random.randrange(flat.numel())] = random.choice(floats if flat.is_floating_point() else wholes)


def _change_header(content: bytes, random: Random, whole: bool) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if whole:
        header = random.choice(([], 5, {"x": 5}, {"x": {}}, {"x": {"dtype": 5, "shape": 5}}))
    else:
        form = header[random.choice([name for name in header if name != "__metadata__"])]
        key = random.choice(("dtype", "shape", "data_offsets"))
        form[key] = {
            "dtype": random.choice(DTYPES),
            "shape": random.choice(SHAPES),
            "data_offsets": random.choice(([0, 10**12], [-1, 5], [5, 1], "x", [])),
        }[key]
    written = json.dumps(header).encode()
    claimed = random.choice((len(written), len(written), 2**63, 0)) if whole else len(written)
    return claimed.to_bytes(8, "little") + written + data


def forge(name: str, content: bytes, random: Random) -> bytes:
    """Change a file as a forger would who knows its form."""
    return (hostile_json if name.endswith(".json") else hostile_tensors)(content, random)
