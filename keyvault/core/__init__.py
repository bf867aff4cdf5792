"""The authority: what is true, and what may happen next. Pure: no I/O, clock, randomness, threads or logging."""
