"""The gRPC edge: authenticate, parse once into core types, ask the engine, translate the answer. No logic."""
