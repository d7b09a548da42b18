"""The child process that runs a model, and its parent."""
