"""The model `unspool/moving-digits`."""
