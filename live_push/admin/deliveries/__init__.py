"""The pages of the delivery log."""
