"""Signing in by an OpenID provider: the authorization code flow with PKCE, and nothing else."""
