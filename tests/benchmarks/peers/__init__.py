"""Other webhook senders for Django, as sides of the measurements."""
