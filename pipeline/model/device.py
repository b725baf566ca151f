"""Where tensors live, and how many threads compute on them."""

from __future__ import annotations

import torch

from pipeline.errors import InvalidSettings


def use_device(name: str, threads: int) -> torch.device:
    """The device of a name (``auto``: CUDA where there is one); also sets torch's threads.

    One thread a process is the default: two torch threads on a busy machine of two cores
    were measured 4 to 8 times slower than one.

    Raises:
        InvalidSettings: the device is not there.
    """
    torch.set_num_threads(threads)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSettings(
            f"model.device is {name}, but torch finds no CUDA device: set it to auto or cpu"
        )
    return device
