"""The pages of tier programs."""
