"""Proof by breaking things: real workers, killed at random, and a receiver whose own record is the judge."""
