"""Backups of an organisation's directory and database, and what a restored one may not do."""
