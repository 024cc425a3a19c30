"""The admin pages. Importing this package registers them, as Django's autodiscovery does."""

from .deliveries import delivery_admin
from .endpoints import endpoint_admin
from .members import member_admin
from .programs import program_admin

__all__ = ["delivery_admin", "endpoint_admin", "member_admin", "program_admin"]
