"""A model that loads at the third attempt, and one that loads at once."""

from __future__ import annotations

from loading import ThirdTime, fine

__all__ = ["ThirdTime", "fine"]
