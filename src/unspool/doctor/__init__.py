"""Measures what happens to a stream between a server and here: `examine`, and what it finds."""

from unspool.doctor.examination import examine
from unspool.doctor.report import Advice, Finding, Level, Report

__all__ = ["Advice", "Finding", "Level", "Report", "examine"]
