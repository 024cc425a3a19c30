"""The commands for operators, and the code that they share."""
