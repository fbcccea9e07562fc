"""The database of a hub or node: one engine, one line of migrations, journals and documents."""
