"""ristretto255 (RFC 9496) behind one interface, whichever library computes it."""
