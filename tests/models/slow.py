"""A model that loads slowly, and one that does not."""

from __future__ import annotations

from loading import Slow, fine

__all__ = ["Slow", "fine"]
