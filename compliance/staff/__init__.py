"""Staff: who has an account, what it may do, who agreed, and emergencies; without a terminal."""
