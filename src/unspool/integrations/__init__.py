"""Small bridges between `Run` and libraries that models are written with. Each module needs its library installed."""
