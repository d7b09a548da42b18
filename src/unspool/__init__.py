"""Unspool: put any generative model behind one HTTP API and let people watch a generation happen.

What is imported from here is loaded when it is first used: whoever calls a server need not load what makes models, nor
the other way round.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unspool.client import AsyncClient, Client
    from unspool.errors import ModelError
    from unspool.files.file import Accept, File
    from unspool.model import Cancelled, Run, model
    from unspool.stages import Stages

__all__ = ["Accept", "AsyncClient", "Cancelled", "Client", "File", "ModelError", "Run", "Stages", "model"]
__version__ = "0.1.0"

_HOMES = {
    "Accept": "unspool.files.file",
    "AsyncClient": "unspool.client",
    "Cancelled": "unspool.model",
    "Client": "unspool.client",
    "File": "unspool.files.file",
    "ModelError": "unspool.errors",
    "Run": "unspool.model",
    "Stages": "unspool.stages",
    "model": "unspool.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`unspool.model` is the decorator, though there is a module of that name, which the import system puts there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
