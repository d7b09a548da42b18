"""What an examination finds, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "found", "unknown"]
"""All well; worth knowing; to be mended; could not be measured."""


@dataclass(frozen=True)
class Advice:
    """Which line to change, of whose configuration."""

    where: str
    line: str


@dataclass(frozen=True)
class Finding:
    """What one check has come to."""

    check: str
    level: Level
    said: str
    """One sentence with what was measured."""
    advice: tuple[Advice, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Figures, for programs."""


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    url: str
    proxies: tuple[str, ...]
    """What stands between, as far as it shows itself."""
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0: all well. 1: something is to be mended. 2: it could not be told."""
        levels = {finding.level for finding in self.findings}
        return 1 if "found" in levels else 2 if "unknown" in levels else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "url": self.url,
            "proxies": list(self.proxies),
            "exit_code": self.exit_code,
            "findings": [asdict(finding) for finding in self.findings],
        }
