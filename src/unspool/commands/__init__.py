"""The commands of `unspool` that talk to a server over its public HTTP API, and `init`, which writes a model file.

Each module is small to import: the SDK, rich and the server's libraries are imported by the functions that need them,
so that `unspool --help` and the completion of a shell answer at once.
"""
