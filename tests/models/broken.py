"""Models that cannot be loaded, beside one that can."""

from __future__ import annotations

from loading import Dies, Raises, Segfaults, fine

__all__ = ["Dies", "Raises", "Segfaults", "fine"]
