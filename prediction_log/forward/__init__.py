"""Spool -> Kafka: the forwarder, its cursors and its housekeeping."""
