"""The wire: what a client receives, and what its answer says. Pure: no clock, no dice, no ORM, no network."""
