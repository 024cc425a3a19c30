"""An app with one command: a cheaper ``flush``, which Django's tests call after each test with transactions."""
