"""The tier rules as pure functions: ladder, timeframes, lifecycle, points."""
