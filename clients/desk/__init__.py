"""The desk: a light for one customer, screening of many, and evidence of every question."""
