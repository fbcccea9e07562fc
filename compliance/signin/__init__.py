"""How staff prove who they are to the screens: passwords, passkeys, an issuer; and sessions."""
