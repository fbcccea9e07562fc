"""Tables of encrypted records: kept on disk, published by delta, served as files."""
