"""The feed: how a partner contributes reports, encrypted, and takes them back again."""
