"""The signals of live_push.

Public signals are sent after the commit of the change. An error that a receiver raises does no harm.

========================== ============================================================================
signal                     arguments
========================== ============================================================================
``delivery_succeeded``     ``delivery``, ``attempt``
``delivery_failed``        ``delivery``, ``attempt`` (the last one; ``None`` without attempts)
``third_party_id_captured`` ``profile_id``, ``endpoint``, ``old``, ``new``
``endpoint_failing``       ``endpoint``, ``since``: no success for six hours, once per incident
``endpoint_disabled``      ``endpoint``, ``reason``
``endpoint_recovered``     ``endpoint``
``endpoint_needs_credentials`` ``endpoint``, ``problem``: its secrets can't be read, so its deliveries wait
``endpoint_has_credentials`` ``endpoint``: they can be read again
========================== ============================================================================
"""

from __future__ import annotations

from django.dispatch import Signal

delivery_succeeded = Signal()
delivery_failed = Signal()
third_party_id_captured = Signal()
endpoint_failing = Signal()
endpoint_disabled = Signal()
endpoint_recovered = Signal()
endpoint_needs_credentials = Signal()
endpoint_has_credentials = Signal()

# Private: sent by models and tiers when profiles change, inside the transaction of the change, so that they need not
# import the code that records the push. Arguments: ``profile_ids`` (list[int]), ``trigger`` (str), ``using`` (alias).
profiles_changed = Signal()

# Private: an endpoint was enabled. Sent inside the transaction. Arguments: ``endpoint_id`` (int), ``using`` (alias).
endpoint_activated = Signal()

# Private: an endpoint's secrets can't be read any more, or can be read again. Sent inside the transaction.
# Arguments: ``endpoint_id`` (int), ``problem`` (str; empty if they can be read), ``using`` (alias).
credentials_changed = Signal()
