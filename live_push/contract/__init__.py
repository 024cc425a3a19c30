"""The wire contract: the body, headers and signature of a push, and how the client's answer is read.

Pure: no clock, no randomness, no ORM and no network.
"""
