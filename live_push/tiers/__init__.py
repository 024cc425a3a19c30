"""Apply the tier rules to members.

The rules are pure functions in :mod:`live_push.rules.tiers`. :mod:`~live_push.tiers.service` applies them to one
member, :mod:`~live_push.tiers.clock` to many.
"""
