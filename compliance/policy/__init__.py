"""Who may do what, when: Cedar policies, decided so that every decision can be replayed."""
