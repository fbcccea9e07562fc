"""Access tokens for partners' programs, each bound to one client certificate."""
