"""From a table that a partner has to a feature contract that it can show.

    sources, sql   rows of CSV, Parquet or a database, read as the node reads them
    looks          what a column looks like: identifiers, dates, free text
    rounding       public ranges that tell no row's value
    drafting       the draft of the contract, and why each other column was left out
    proving        whether rows keep a contract, in counts alone
    snapshots      a private copy of a database's rows, taken again by `refresh`

Nothing here shows a value. A draft is a proposal: whoever answers for the data edits it, since
ranges and levels are read by all parties.
"""
