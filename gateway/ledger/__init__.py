"""The minute ledger: one row per series and minute, the embedded store behind page, windows and reports."""
