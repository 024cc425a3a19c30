"""The outbox: every change of ownership of a delivery happens in this room.

============  ==============================================================================
``record``    a change becomes one push and one delivery per active endpoint
``resend``    the same without a body: the current state, drawn when it is first sent
``draw``      gives such a push its sequence and body
``line``      pure: of one pair's waiting deliveries, which is next and which give way
``claim``     a worker takes due deliveries, under a lease and a token
``leases``    the start of an attempt, giving back, and what is left of a worker that died
``reopen``    redelivery and re-activation: a new run
``catch_up``  changes that were under way while their endpoint was switched on
``withdraw``  an operator cancels what waits, or erases what was sent
``failures``  what ended without an attempt's verdict is told too
``erase``     a member is deleted: what the log knew of them goes too
============  ==============================================================================
"""
