"""The network: a 2-D U-Net that sees a whole clip at once, its frames as channels.

Each 2x2 square of pixels becomes four channels, so 24 frames of 32x32 are 96 channels of 16x16.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all of torch's users know
from torch import nn

from .data import DIGITS, DIRECTIONS, FRAMES, SPEEDS

WIDTHS = (64, 112, 160)
_EMBEDDING = 160


class Net(nn.Module):
    """Gives the clean clip that it sees in a noisy one."""

    def __init__(self, widths: tuple[int, int, int] = WIDTHS, embedding: int = _EMBEDDING) -> None:
        super().__init__()
        a, b, c = widths
        self.digit = nn.Embedding(len(DIGITS) + 1, embedding)
        self.direction = nn.Embedding(len(DIRECTIONS) + 1, embedding)
        self.speed = nn.Embedding(len(SPEEDS) + 1, embedding)
        self.time = nn.Sequential(nn.Linear(64, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.inward = nn.Conv2d(4 * FRAMES + 2, a, 3, padding=1)
        self.a1 = Block(a, a, embedding)
        self.to_b = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.b1, self.b2 = Block(b, b, embedding), Block(b, b, embedding)
        self.to_c = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.c1, self.look, self.c2 = Block(c, c, embedding), Attention(c), Block(c, c, embedding)
        self.from_c = nn.Conv2d(c, b, 3, padding=1)
        self.b3, self.b4 = Block(2 * b, b, embedding), Block(2 * b, b, embedding)
        self.from_b = nn.Conv2d(b, a, 3, padding=1)
        self.a2, self.a3 = Block(2 * a, a, embedding), Block(2 * a, a, embedding)
        self.norm = nn.GroupNorm(8, a)
        self.outward = nn.Conv2d(a, 4 * FRAMES, 3, padding=1)
        nn.init.zeros_(self.outward.weight)
        side = torch.linspace(-1, 1, 16)
        self.register_buffer("where", torch.stack(torch.meshgrid(side, side, indexing="ij"))[None], persistent=False)

    def forward(
        self, noisy: torch.Tensor, t: torch.Tensor, digit: torch.Tensor, direction: torch.Tensor, speed: torch.Tensor
    ) -> torch.Tensor:
        """The clean clip, (n, 24, 32, 32), from a noisy one; `t` (n,) is 0 for noise and 1 for no noise."""
        e = self.digit(digit) + self.direction(direction) + self.speed(speed) + self.time(_waves(t))
        e = F.silu(e)
        h = F.pixel_unshuffle(noisy, 2)
        h0 = self.inward(torch.cat((h, self.where.expand(h.shape[0], -1, -1, -1)), 1))
        h1 = self.a1(h0, e)
        h2 = self.b1(self.to_b(h1), e)
        h3 = self.b2(h2, e)
        h = self.c2(self.look(self.c1(self.to_c(h3), e)), e)
        h = self.from_c(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.b4(torch.cat((self.b3(torch.cat((h, h3), 1), e), h2), 1), e)
        h = self.from_b(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.a3(torch.cat((self.a2(torch.cat((h, h1), 1), e), h0), 1), e)
        return F.pixel_shuffle(self.outward(F.silu(self.norm(h))), 2)


class Block(nn.Module):
    """Two convolutions round a scale and shift that say what to draw and how noisy it still is."""

    def __init__(self, inward: int, outward: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, inward), nn.Conv2d(inward, outward, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, outward), nn.Conv2d(outward, outward, 3, padding=1)
        self.condition = nn.Linear(embedding, 2 * outward)
        self.past = nn.Identity() if inward == outward else nn.Conv2d(inward, outward, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, h: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """The same shape as `h`, with `outward` channels."""
        scale, shift = self.condition(e)[:, :, None, None].chunk(2, 1)
        inner = self.conv1(F.silu(self.norm1(h)))
        inner = self.norm2(inner) * (1 + scale) + shift
        return self.past(h) + self.conv2(F.silu(inner))


class Attention(nn.Module):
    """Every place of the coarsest level looks at every other."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, width)
        self.ask, self.answer = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """The same shape as `h`."""
        n, width, rows, columns = h.shape
        tokens = self.norm(h).view(n, width, rows * columns).transpose(1, 2)
        asked = self.ask(tokens).view(n, rows * columns, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(asked[0], asked[1], asked[2])
        merged = self.answer(found.transpose(1, 2).reshape(n, rows * columns, width))
        return h + merged.transpose(1, 2).view(n, width, rows, columns)


def _waves(t: torch.Tensor) -> torch.Tensor:
    rates = torch.exp(torch.linspace(0, math.log(1000), 32, device=t.device))
    angles = t[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), 1)
