"""Differential privacy: events, their exact price, noise, and an audit of the claim.

    events      what was released, as values that the ledger stores for ever
    neighbours  between which two tables the promise holds
    accounting  events -> epsilon, delta: always an upper bound
    calibrate   epsilon, delta -> noise: always rounded to more noise
    discrete    the noise itself, exact on the integers
    lattice     why that noise may be accounted for as a Gaussian
    canary      a lower bound on epsilon, from one run

One rule keeps it right: every rounding errs towards less privacy claimed, and a
number is never combined with one under another neighbouring relation.
"""
