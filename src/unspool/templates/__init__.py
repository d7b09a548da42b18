"""The model files that `unspool init` writes. Each is a module that is checked like any other and serves as it is."""
