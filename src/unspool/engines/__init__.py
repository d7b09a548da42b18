"""Ready-made model classes, one for each family of weights. Each module imports its libraries when it loads a model."""
