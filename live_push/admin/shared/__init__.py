"""Code that several admin pages share."""
