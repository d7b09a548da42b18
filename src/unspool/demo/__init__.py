"""What `unspool demo` serves: small models whose weights come from the package index."""
