"""From files to typed columns: read, infer, profile, clean, split, rows (wire value → typed value), features (→ graph)."""
