"""Private keys at rest: sealed under a passphrase, or under a key that a KMS hands in as a file."""
