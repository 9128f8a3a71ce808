"""Records into what people read: tables, the paper's ledger, Markdown and one HTML page. No model is run here."""
