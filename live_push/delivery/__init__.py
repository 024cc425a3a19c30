"""The network half: make a delivery's request, send it, and read the answer.

:mod:`~live_push.delivery.send` turns a started delivery into a :class:`~live_push.delivery.request.Request` and the
result into an outcome for the outbox. A transport in between makes one attempt: it resolves the host name, refuses
internal addresses, connects, verifies the certificate, writes the request within its deadlines and reads the answer.
There are two transports with the same rules: :mod:`~live_push.delivery.transport` on ``requests``, and
:mod:`~live_push.delivery.fast` on libcurl.

No module here uses the database. The engines hand in the rows to read from.
"""
