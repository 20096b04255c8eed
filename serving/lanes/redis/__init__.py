"""The lane between processes and machines: a Redis stream that the workers pull from.

    mailbox.py (web process) ── enter ──▶ stream ── take ──▶ puller.py (worker)
                     ▲────────── its own reply list ◀── settle ──┘

A request is claimed by another worker when the one that took it is silent for LEASE; it is answered once, because the
reply is written only by the one that removes it from the stream.
"""
