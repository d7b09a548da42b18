"""Trains the model `unspool/moving-digits`."""
