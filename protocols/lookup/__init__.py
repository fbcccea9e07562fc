"""Private look-up in shared fraud reports: encrypted records, their tables, and the light."""
