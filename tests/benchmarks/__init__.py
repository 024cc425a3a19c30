"""How fast it is, against what the machine and its HTTP clients can do: ``python -m tests.benchmarks``."""
