"""Unspool: put any generative model behind one HTTP API and let people watch a generation happen."""

from unspool.errors import ModelError
from unspool.files.file import Accept, File
from unspool.model import Cancelled, Run, model
from unspool.stages import Stages

__all__ = ["Accept", "Cancelled", "File", "ModelError", "Run", "Stages", "model"]
__version__ = "0.1.0"
