"""The words both sides agree on: prediction, label, plan, verdict, reference.

Frozen, versioned types with strict encode and decode. Nothing here reads a clock, a disk or a network.
"""
