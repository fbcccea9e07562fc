"""The oblivious pseudorandom function of RFC 9497, with its key shared among holders."""
