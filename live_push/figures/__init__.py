"""Read-only figures. Commands, pages and metrics read them here, so that they agree."""
