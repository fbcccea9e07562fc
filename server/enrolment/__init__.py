"""Enrolment over the network: invitations, waiting requests, renewal, revocation."""
