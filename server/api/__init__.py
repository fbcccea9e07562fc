"""The hub's HTTPS API: application, problems, the caller's certificate, the server."""
