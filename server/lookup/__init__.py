"""Lookups at the hub: evaluations with receipts, manifests, quotas."""
