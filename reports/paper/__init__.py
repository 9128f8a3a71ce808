"""The paper as a ledger: its claims and printed tables, typed, and what measurements say of them."""
