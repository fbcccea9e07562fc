"""The transparency log as bytes and values: RFC 6962 hashing in the formats of C2SP."""
