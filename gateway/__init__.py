"""request -> route -> run -> record -> reply; plans and the shifts between them."""
