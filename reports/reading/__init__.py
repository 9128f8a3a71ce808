"""Folders of records into typed values; what cannot be read is listed with its reason, never fatal."""
