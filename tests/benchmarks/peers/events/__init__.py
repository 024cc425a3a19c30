"""The event that a host of django-outbound-webhooks declares and fires."""
