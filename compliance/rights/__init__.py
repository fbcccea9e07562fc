"""Persons' rights: requests with deadlines, holds, erasure with certificates, disputes."""
