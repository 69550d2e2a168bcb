"""A local stand-in for TemPolor over real HTTP: its API, its habits, and its faults on demand."""
