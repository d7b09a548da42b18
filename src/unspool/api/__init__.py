"""The HTTP side. Holds no state that matters: what is true is in the spool."""
