"""The admin API: how plans change, and who may see what."""
